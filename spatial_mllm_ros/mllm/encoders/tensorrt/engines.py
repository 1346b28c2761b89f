"""All engines of a folder of encoders: found or built, compared with ONNX Runtime, and ready to run."""

from collections.abc import Callable, Mapping
from time import monotonic

from ..compare import ALLOWED
from ..exported import EncodersError, Exported
from .build import build
from .engine import Engine
from .gpu import Buffer, Gpu
from .kept import Kept, folder_of, key_of
from .library import library, listener

Progress = Callable[[str, float], None]
Measure = Callable[[Mapping[str, Engine]], Mapping[str, float]]


def have_engines(exported: Exported) -> bool:
    """Whether engines of that folder were built on this machine, for whatever GPU and version."""
    return any(folder_of(exported).glob("*.engine"))


class Engines:
    """Engines of a folder, for one GPU.

    Args:
        exported: the folder. index: of the GPU.
    Attributes:
        files: engines by the name of their ONNX file, once they are prepared.
        remarks: what was out of the ordinary, for people.
    Raises:
        EncodersError: no TensorRT, no cuda-python or no GPU.
    """

    def __init__(self, exported: Exported, index: int = 0):
        self._trt, self._gpu, self._exported = library(), Gpu(index), exported
        self._log, self._workspace = listener(self._trt), Buffer(self._gpu)
        self.files: dict[str, Engine] = {}
        self.remarks: list[str] = []
        self._kept: dict[str, Kept] = {}

    @property
    def said(self) -> str:
        """What runs them, in words, with the keys of the engines."""
        keys = ", ".join(f"{kept.name.removesuffix('.engine')} {kept.id}" for kept in self._kept.values())
        remarks = "".join(f"; {remark}" for remark in self.remarks)
        return f"TensorRT {self._trt.__version__} on {self._gpu.name} (engines: {keys}){remarks}"

    def prepare(self, tell: Progress, measure: Measure, again: bool = False) -> None:
        """Load the engines of all files; build those that are not there or are of something else.

        Args:
            tell: is told the stage, and the part of all that is done.
            measure: how far engines, by the name of their file, are from ONNX Runtime: asked once for each engine.
            again: build a damaged or refused one again too.
        Raises:
            EncodersError: one cannot be built, is damaged, or is too far from ONNX Runtime. MemoryError, RuntimeError.
        """
        names = list(self._exported.about["files"])
        for number, name in enumerate(names):
            key = key_of(self._exported, name, self._trt.__version__, self._gpu.name, self._gpu.sm)
            self._kept[name] = kept = Kept(folder_of(self._exported), name, key)

            def part(done: float, number: int = number, kept: Kept = kept) -> None:
                tell(f"building {kept.name}", (number + done) / len(names))

            def waiting(number: int = number, kept: Kept = kept) -> None:
                tell(f"another process builds {kept.name}", number / len(names))

            with kept.alone(waiting):
                self.files[name] = self._one(name, kept, part, again)
        if unknown := {name: self.files[name] for name, kept in self._kept.items() if "difference" not in kept.about()}:
            tell("comparing engines with ONNX Runtime", 1.0)
            for name, apart in measure(unknown).items():
                kept = self._kept[name]
                kept.note({**kept.about(), "difference": apart})
        for kept in self._kept.values():
            _check(kept, self._exported.precision)

    def close(self) -> None:
        """Let go of everything."""
        for engine in self.files.values():
            engine.forget()
        self.files = {}

    def _one(self, name: str, kept: Kept, tell: Callable[[float], None], again: bool) -> Engine:
        if why := kept.why_not():
            self.remarks.append(f"{kept.name} is built again: {why}")
        try:
            with kept.read() as plan:
                if plan is not None:
                    _check(kept, self._exported.precision)
                    return self._load(name, plan)
        except EncodersError:
            if not again:
                raise
        start = monotonic()
        tell(0.0)
        plan = build(self._trt, self._log, self._exported.file(name), self._exported.profiles(name), _calm(tell))
        kept.write(plan)
        self.remarks.append(f"{kept.name} was built in {monotonic() - start:.0f} s")
        with memoryview(plan) as view:
            return self._load(name, view)

    def _load(self, name: str, plan: memoryview) -> Engine:
        path, profiles = self._exported.file(name), self._exported.profiles(name)
        return Engine(self._trt, self._log, self._gpu, path, plan, profiles, self._workspace)


def _check(kept: Kept, precision: str) -> None:
    """Raises EncodersError where an engine was found too far from ONNX Runtime."""
    apart, allowed = float(kept.about().get("difference", 0.0)), ALLOWED[precision]
    if not apart <= allowed:
        raise EncodersError(f"{kept.name} is {apart:.2g} from ONNX Runtime, at most {allowed} is allowed: not used")


def _calm(tell: Callable[[float], None]) -> Callable[[float], None]:
    """At most ten times a second."""
    last = 0.0

    def now_and_then(part: float) -> None:
        nonlocal last
        if monotonic() - last >= 0.1:
            last = monotonic()
            tell(part)

    return now_and_then
