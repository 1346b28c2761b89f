"""Exported encoders, run by ONNX Runtime. Needs no torch.

Arrays come in and go out; between files values stay where they are computed. Buffers are bound once for each shape of
inputs, and used again while that is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...geometry.window import WindowGeometry
from ...versions import install
from ..images import Frames
from .exported import EncodersError, Exported
from .grid import MERGE, aggregator_inputs, heads_inputs, visual_inputs
from .view import HeadsOutput, window

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
"""By the name that a user gives, the best first."""

NO_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "cuda failure 2")  # words of ONNX Runtime

Values = Mapping[str, Any]  # arrays, or values of ONNX Runtime


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
    def providers(self) -> list[Any]:
        """What to ask ONNX Runtime for, and what may take over where that cannot."""
        names = {"tensorrt": ("tensorrt", "cuda", "cpu"), "cuda": ("cuda", "cpu"), "cpu": ("cpu",)}[self.name]
        return [PROVIDERS[name] if name == "cpu" else (PROVIDERS[name], {"device_id": self.index}) for name in names]


def choose(wanted: str = "auto", device: str = "auto") -> Choice:
    """The provider to ask ONNX Runtime for.

    Args:
        wanted: ``auto``: CUDA where ONNX Runtime has it and the model may use a GPU, else the CPU; or of ``PROVIDERS``.
        device: that of the model: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    Raises:
        EncodersError: this ONNX Runtime has not what is wanted.
    """
    there = runtime().get_available_providers()
    index = int(number) if (number := device.partition("cuda:")[2]).isdecimal() else 0
    if wanted == "auto":
        if device == "cpu":
            return Choice("cpu")
        if PROVIDERS["cuda"] in there:
            return Choice("cuda", index)
        return Choice("cpu", why=f"this ONNX Runtime has no CUDA ({install('onnxruntime-gpu')} where there is a GPU)")
    if wanted not in PROVIDERS:
        raise EncodersError(f"provider '{wanted[:40]}': expected auto, {', '.join(PROVIDERS)}")
    if PROVIDERS[wanted] not in there:
        has = ", ".join(name for name, full in PROVIDERS.items() if full in there)
        remedy = install("onnxruntime-gpu")
        raise EncodersError(f"provider {wanted} is not in this ONNX Runtime, which has {has}: {remedy}")
    return Choice(wanted, index)


class File:
    """One exported file, ready to run.

    Args:
        path: of the file. profiles: shapes that its inputs may have. wanted: the provider. threads: 0: all cores.
    Attributes:
        provider: that really runs.
    Raises:
        EncodersError: it is damaged, or lacks its weights.
    """

    def __init__(self, path: Path, profiles: Mapping[str, Any], wanted: Choice, threads: int = 0):
        self._ort, self._path, self._profiles = runtime(), path, profiles
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        try:
            self._session = self._ort.InferenceSession(str(path), options, providers=wanted.providers)
        except Exception as error:  # of many kinds, none of them public
            said = " ".join(str(error).split())[:200]
            raise EncodersError(f"{path.name} cannot be loaded: export the encoders again ({said})") from None
        names = {value.name for value in self._session.get_inputs()}
        if names != set(profiles):
            raise EncodersError(f"{path.name} is not the file that encoders.json describes: export the encoders again")
        running = self._session.get_providers()[0]
        self.provider = next((name for name, full in PROVIDERS.items() if full == running), running)
        self._device = ("cpu", 0) if self.provider == "cpu" else ("cuda", wanted.index)
        self._binding = self._session.io_binding()
        self._bound: tuple = ()

    def run(self, inputs: Values) -> dict[str, Any]:
        """Outputs by name, which the next run with inputs of the same shapes writes over.

        Raises:
            EncodersError: sizes that the file was not exported for. MemoryError: there is too little.
        """
        shapes = tuple(tuple(_shape(inputs[name])) for name in self._profiles)
        binding = self._binding
        if shapes != self._bound:
            self._check(dict(zip(self._profiles, shapes, strict=True)))
            binding.clear_binding_outputs()
            for value in self._session.get_outputs():
                binding.bind_output(value.name, *self._device)
        for name in self._profiles:
            if isinstance(value := inputs[name], np.ndarray):
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
            else:
                binding.bind_ortvalue_input(name, value)
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

    def _check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            low, high = (self._profiles[name][point] for point in ("min", "max"))
            if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
                spans = " x ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in zip(low, high, strict=True))
                given = " x ".join(map(str, shape))
                raise EncodersError(
                    f"{self._path.name} was exported for {name} of {spans}, not for {given}: export the encoders with"
                    " --frames and --size that hold it"
                )


class OnnxEncoders:
    """The encoders of a folder; each file is loaded when it is first used.

    Args:
        exported: the folder. provider, device: see :func:`choose`. threads: 0: all cores.
    Attributes:
        choice: what was asked of ONNX Runtime.
    """

    def __init__(self, exported: Exported, provider: str = "auto", device: str = "auto", threads: int = 0):
        self.exported, self.choice, self._threads = exported, choose(provider, device), threads
        self._files: dict[str, File] = {}

    @property
    def said(self) -> str:
        """What runs them, in words."""
        running = {file.provider for file in self._files.values()} or {self.choice.name}
        why = f": {self.choice.why}" if self.choice.why else ""
        if running != {self.choice.name}:
            why = f": {self.choice.name} could not be started, see the log"
        return f"ONNX Runtime, {'/'.join(sorted(running))}, {self.exported.precision}{why}"

    @property
    def smallest(self) -> tuple[int, int, int]:
        """Number, height and width of the frames of the smallest clip."""
        images = self.exported.profiles("spatial.onnx")["images"]
        frames, _, height, width = images["min"]
        return min(max(2, frames), images["max"][0]), height, width

    def forget(self) -> None:
        """Let go of what the last clip took."""
        for file in self._files.values():
            file.forget()

    def window(self, images: Frames) -> WindowGeometry:
        """Depth and cameras of a clip, see ``view.window``."""
        return window(self._see, self.exported.longest, self.exported.patch, images)

    def load(self, name: str) -> File:
        """A file by its name without suffix. Raises EncodersError."""
        if name not in self._files:
            file = f"{name}.onnx"
            path = self.exported.file(file)
            self._files[name] = File(path, self.exported.profiles(file), self.choice, self._threads)
        return self._files[name]

    def spatial(self, images: NDArray[np.float32]) -> dict[str, Any]:
        """Tokens of the aggregator, see ``vggt.graphs.Spatial``, of one clip, RGB in [0, 1], [S, 3, H, W]."""
        patch, longest = self.exported.patch, self.exported.longest
        rows, columns = (side // patch for side in images.shape[2:])
        return self.load("spatial").run({"images": images, **aggregator_inputs(rows, columns, longest // patch)})

    def tokens(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens [S, h * w, 2C] that the connector reads, of one clip as :meth:`spatial` takes it."""
        found = self.spatial(images)[self.exported.connector].numpy()
        return found.reshape(len(found), -1, found.shape[-1]).copy()

    def _see(self, clip: NDArray[np.uint8]) -> HeadsOutput:
        """Depth and cameras of a clip, RGB uint8 [S, H, W, 3]."""
        return self.heads(clip.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))

    def heads(self, images: NDArray[np.float32]) -> HeadsOutput:
        """Depth and cameras of one clip as :meth:`spatial` takes it."""
        file, patch, most = self.load("geometry"), self.exported.patch, self.exported.shown
        tokens, frames, size = self.spatial(images), len(images), images.shape[2:]
        inputs = heads_inputs(*(side // patch for side in size), patch)
        levels = {name: tokens[name].numpy() for name in self.exported.levels}
        depth, confidence = (np.empty((frames, *size), np.float32) for _ in range(2))
        pose = None
        for part in (slice(i, i + most) for i in range(0, frames, most)):
            some = {name: level[part] for name, level in levels.items()}
            found = file.run({"camera": tokens["camera"], **some, **inputs})
            depth[part], confidence[part] = (found[name].numpy() for name in ("depth", "confidence"))
            pose = found["pose_enc"].numpy() if pose is None else pose
        assert pose is not None
        return HeadsOutput(depth, confidence, pose.copy())

    def visual(self, patches: NDArray[np.float32], grid: tuple[int, int, int]) -> NDArray[np.float32]:
        """Tokens [t * h/2 * w/2, hidden] of the 2D encoder, of one image or video of patches [t * h * w, 1176]."""
        pairs, rows, columns = grid
        inputs = visual_inputs(rows, columns, self.exported.window)
        given = patches.reshape(pairs, rows * columns // MERGE**2, MERGE**2, -1)
        found = self.load("visual").run({"patches": given, **inputs})["visual"].numpy()
        return found.reshape(-1, found.shape[-1]).copy()

    def connect(
        self, visual: NDArray[np.float32], spatial: NDArray[np.float32], grid: tuple[int, int, int]
    ) -> NDArray[np.float32]:
        """Fused tokens [N, hidden] of one clip of tokens [N, hidden] and [M, 2C], as both encoders give them."""
        pairs, rows, columns = grid
        given = visual.reshape(pairs, rows // MERGE, columns // MERGE, -1)
        frames = spatial.reshape(-1, rows, columns, spatial.shape[-1])
        return self.load("connector").run({"visual": given, self.exported.connector: frames})["fused"].numpy().copy()


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, np.ndarray) else value.shape()
