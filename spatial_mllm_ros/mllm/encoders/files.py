"""The encoders of a folder, whoever runs its files: TensorRT or ONNX Runtime. Needs no torch."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...geometry.window import WindowGeometry
from ..images import Frames
from . import onnx
from .compare import compare
from .exported import EncodersError, Exported
from .grid import MERGE, aggregator_inputs, heads_inputs, visual_inputs
from .tensorrt.engines import Engines, have_engines
from .view import HeadsOutput, window

WAYS = ("auto", "tensorrt", *onnx.PROVIDERS)
"""What may run encoders, by the name that a user gives."""

Progress = Callable[[str, float], None]


class Runs(Protocol):
    """One file, ready to run."""

    @property
    def provider(self) -> str:
        """What really runs it, of ``WAYS``."""
        ...

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, which the next run writes over: things with ``shape()`` and ``numpy()``.

        Args:
            inputs: arrays, or what a file gave.
        Raises:
            EncodersError: sizes that it was not exported for. MemoryError: too little.
        """
        ...

    def forget(self) -> None:
        """Let go of buffers."""
        ...


class FileEncoders:
    """The encoders of a folder.

    By TensorRT where that is asked for (engines that are not there are built first), or where engines of the folder
    have been built here before; by ONNX Runtime where not, or where an engine is broken or gives something else.

    Args:
        exported: the folder.
        provider: of ``WAYS``. device: that of the model, ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of ONNX Runtime, 0: all cores.
        names: of the files that are used; None: all.
        tell: is told what is built, and the part that is done.
    Attributes:
        way: what was chosen, of ``WAYS``.
    Raises:
        EncodersError: what is asked for is not here.
    """

    def __init__(
        self,
        exported: Exported,
        provider: str = "auto",
        device: str = "auto",
        threads: int = 0,
        names: Sequence[str] | None = None,
        tell: Progress = lambda stage, part: None,
    ):
        self.exported, self._threads, self._why = exported, threads, ""
        self._files: dict[str, Runs] = {}
        self._engines = self._with_engines(provider, device, names, tell)
        if self._engines is not None:
            self._files |= {file.removesuffix(".onnx"): engine for file, engine in self._engines.files.items()}
        else:
            self._choice = onnx.choose("auto" if provider == "tensorrt" else provider, device)
            self._why = self._why or self._choice.why
        self.way = "tensorrt" if self._engines else self._choice.name

    @property
    def said(self) -> str:
        """What runs them, in words."""
        if self._engines is not None:
            return f"{self._engines.said}, {self.exported.precision}"
        running = sorted({file.provider for file in self._files.values()} or {self.way})
        odd = [file.why for file in self._files.values() if isinstance(file, onnx.File) and file.why]
        why = "; ".join(filter(None, (self._why, *odd[:1])))
        return f"ONNX Runtime, {'/'.join(running)}, {self.exported.precision}{why and f': {why}'}"

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

    def load(self, name: str) -> Runs:
        """A file by its name without suffix, loaded when it is first used. Raises EncodersError."""
        if name not in self._files:
            path = self.exported.file(file := f"{name}.onnx")
            self._files[name] = onnx.File(path, self.exported.profiles(file), self._choice, self._threads)
        return self._files[name]

    def put(self, name: str, file: Runs) -> None:
        """Another that runs a file from now on, by its name without suffix."""
        self._files[name] = file

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
        values = {name: tokens[name] for name in self.exported.levels}
        levels = {name: v if hasattr(v, "__getitem__") else v.numpy() for name, v in values.items()}  # some on a GPU
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

    def _with_engines(self, provider: str, device: str, names: Sequence[str] | None, tell: Progress) -> Engines | None:
        """All engines, ready to run, or None: why is noted. Raises EncodersError where they are asked for in vain."""
        asked, engines = provider == "tensorrt", None
        if not asked and (provider != "auto" or device == "cpu"):
            return None
        try:
            if not asked and not have_engines(self.exported):
                builds = f"spatial-mllm export --tensorrt {self.exported.folder.name}"
                self._why = f"no engines were built here: {builds}" if find_spec("tensorrt") is not None else ""
                return None
            engines = Engines(self.exported, onnx.gpu_of(device), names)
            engines.prepare(tell, partial(measured, self.exported))
            return engines
        except Exception as error:  # of NVIDIA's libraries come many kinds, and ONNX Runtime does the same work
            if engines is None and asked:
                raise error if isinstance(error, EncodersError) else EncodersError(f"TensorRT: {error}") from error
            if engines is not None:
                engines.close()
            self._why = f"not by TensorRT, {getattr(error, 'message', None) or f'{type(error).__name__}: {error}'}"
            return None


def engines_of(exported: Exported, device: str = "auto", tell: Progress = lambda stage, part: None) -> Engines:
    """Engines of a folder, built where there are none that fit, damaged and refused ones again too.

    Raises:
        EncodersError: no TensorRT or GPU here, or an engine cannot be built, kept, or is too far from ONNX Runtime.
    """
    if device != "auto" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise EncodersError(f"device '{device[:40]}': expected cuda or cuda:N, engines are built for a GPU")
    engines = Engines(exported, onnx.gpu_of(device))
    try:
        engines.prepare(tell, partial(measured, exported), again=True)
    except (RuntimeError, MemoryError, TypeError, ValueError) as error:
        raise EncodersError(f"engines of {exported.folder.name}: {error}") from None
    return engines


def measured(exported: Exported, engines: Mapping[str, Runs]) -> dict[str, float]:
    """How far engines are from ONNX Runtime on the CPU, see :func:`compare`."""
    return compare(FileEncoders(exported, "cpu"), engines)
