"""Exported encoders, run by ONNX Runtime. Needs no torch.

Arrays come in; values of ONNX Runtime go out, and stay where they are computed. Buffers are bound once for each shape
of inputs, and used again while that is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...versions import install
from .exported import EncodersError, check_shapes, shape_of

PROVIDERS = {
    "onnx-tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""By the name that a user gives, the best first; each may leave to the next what it cannot do."""

NO_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "cuda failure 2")  # words of ONNX Runtime

Values = Mapping[str, Any]  # arrays, or values that a file gave


def runtime() -> Any:
    """ONNX Runtime. Raises EncodersError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EncodersError(f"exported encoders need ONNX Runtime: {install('onnxruntime')} ({error})") from None
    return onnxruntime


@dataclass(frozen=True)
class Choice:
    """What runs the encoders.

    Attributes:
        name: of ``PROVIDERS``. index: of the GPU. why: no better one; empty where there is none.
    """

    name: str
    index: int = 0
    why: str = ""

    @property
    def ladder(self) -> list[list[Any]]:
        """What to ask ONNX Runtime for, and what to ask for next where that cannot be started."""
        names = list(PROVIDERS)[list(PROVIDERS).index(self.name) :]
        asked = [PROVIDERS[name] if name == "cpu" else (PROVIDERS[name], {"device_id": self.index}) for name in names]
        return [asked[i:] for i in range(len(asked))]


def choose(wanted: str = "auto", device: str = "auto") -> Choice:
    """The provider to ask ONNX Runtime for.

    Args:
        wanted: ``auto``: CUDA where ONNX Runtime has it and the model may use a GPU, else the CPU; or of ``PROVIDERS``.
        device: that of the model: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    Raises:
        EncodersError: this ONNX Runtime has not what is wanted.
    """
    there = runtime().get_available_providers()
    index = gpu_of(device)
    if wanted == "auto":
        if device == "cpu":
            return Choice("cpu")
        if PROVIDERS["cuda"] in there:
            return Choice("cuda", index)
        return Choice("cpu", why=f"this ONNX Runtime has no CUDA ({install('onnxruntime-gpu')} where there is a GPU)")
    if wanted not in PROVIDERS:
        raise EncodersError(f"provider '{wanted[:40]}': expected auto, tensorrt, {', '.join(PROVIDERS)}")
    if PROVIDERS[wanted] not in there:
        has = ", ".join(name for name, full in PROVIDERS.items() if full in there)
        remedy = install("onnxruntime-gpu")
        raise EncodersError(f"provider {wanted} is not in this ONNX Runtime, which has {has}: {remedy}")
    return Choice(wanted, index)


def gpu_of(device: str) -> int:
    """Number of the GPU that a device names, 0 where it names none."""
    return int(number) if (number := device.partition("cuda:")[2]).isdecimal() else 0


class File:
    """One exported file, ready to run.

    Args:
        path: of the file. profiles: shapes that its inputs may have. wanted: the provider. threads: 0: all cores.
    Attributes:
        provider: that really runs. why: not the one that was wanted; empty: it does.
    Raises:
        EncodersError: it is damaged, or lacks its weights.
    """

    def __init__(self, path: Path, profiles: Mapping[str, Any], wanted: Choice, threads: int = 0):
        ort, self._path, self._profiles, self.why = runtime(), path, profiles, ""
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # waiting, it took cores from all others
        for providers in wanted.ladder:
            try:
                self._session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
                break
            except Exception as error:  # of many kinds, none of them public
                said = " ".join(str(error).split())[:200]
                self.why = self.why or f"{wanted.name} could not be started ({said})"
        else:
            raise EncodersError(f"{path.name} cannot be loaded: export the encoders again ({said})")
        names = {value.name for value in self._session.get_inputs()}
        if names != set(profiles):
            raise EncodersError(f"{path.name} is not the file that encoders.json describes: export the encoders again")
        running = self._session.get_providers()[0]
        self.provider = next((name for name, full in PROVIDERS.items() if full == running), running)
        if self.provider != wanted.name and not self.why:
            self.why = f"{wanted.name} could not be started"  # ONNX Runtime says why on standard error alone
        self._device = ("cpu", 0) if self.provider == "cpu" else ("cuda", wanted.index)
        self._binding = self._session.io_binding()
        self._bound: tuple = ()

    def run(self, inputs: Values) -> dict[str, Any]:
        """Outputs by name, which the next run with inputs of the same shapes writes over.

        Raises:
            EncodersError: sizes that the file was not exported for. MemoryError: there is too little.
        """
        shapes = tuple(shape_of(inputs[name]) for name in self._profiles)
        binding = self._binding
        if shapes != self._bound:
            check_shapes(self._path.name, self._profiles, dict(zip(self._profiles, shapes, strict=True)))
            binding.clear_binding_outputs()
            for value in self._session.get_outputs():
                binding.bind_output(value.name, *self._device)
        for name in self._profiles:
            value = inputs[name]
            if hasattr(value, "data_ptr"):
                binding.bind_ortvalue_input(name, value)
            else:
                array = value if isinstance(value, np.ndarray) else value.numpy()
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # of many kinds, none of them public
            self.forget()
            if any(sign in str(error).lower() for sign in NO_MEMORY):
                raise MemoryError(f"{self._path.name}: {error}") from None
            raise
        outputs = dict(zip((v.name for v in self._session.get_outputs()), binding.get_outputs(), strict=True))
        if shapes != self._bound:
            for name, value in outputs.items():
                binding.bind_ortvalue_output(name, value)
            self._bound = shapes
        return outputs

    def forget(self) -> None:
        """Let go of the buffers."""
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._bound = ()
