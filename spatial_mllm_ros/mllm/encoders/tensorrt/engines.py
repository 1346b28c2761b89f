"""All engines of a folder of encoders: found or built, compared with ONNX Runtime, and ready to run."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic

from ..compare import ALLOWED
from ..exported import EncodersError, Exported
from .build import build
from .engine import Engine
from .gpu import Buffer, Gpu
from .kept import TRIES, Kept, folder_of, key_of
from .library import library, listener

AGAIN = "spatial-mllm export --tensorrt builds it again"

Progress = Callable[[str, float], None]
Measure = Callable[[Mapping[str, Engine]], Mapping[str, float]]


def have_engines(exported: Exported) -> bool:
    """Whether engines of that folder were built by this user, for whatever GPU and version."""
    return any(folder_of(exported).glob("*.engine"))


class Engines:
    """Engines of a folder, for one GPU.

    Args:
        exported: the folder. index: of the GPU. names: of the ONNX files; None: all.
    Attributes:
        files: engines by the name of their ONNX file, once they are prepared.
        remarks: what was out of the ordinary, for people.
    Raises:
        EncodersError: no TensorRT, no cuda-python or no GPU.
    """

    def __init__(self, exported: Exported, index: int = 0, names: Sequence[str] | None = None):
        self._trt, self._gpu, self._exported = library(), Gpu(index), exported
        self._log, self._workspace = listener(self._trt), Buffer(self._gpu)
        self._names = list(exported.about["files"]) if names is None else list(names)
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
        """Build the engines that are not there, all before any is loaded; then load them, and compare new ones.

        Args:
            tell: is told the stage, and the part of all that is done.
            measure: how far engines, by the name of their file, are from ONNX Runtime: asked once for each engine.
            again: build a damaged or refused one again too.
        Raises:
            EncodersError: one cannot be built, is damaged, or is too far from ONNX Runtime. MemoryError, RuntimeError.
        """
        for number, name in enumerate(self._names):
            key = key_of(self._exported, name, self._trt.__version__, self._gpu)
            self._kept[name] = kept = Kept(folder_of(self._exported), name, key)

            def part(stage: str, done: float, number: int = number) -> None:
                tell(stage, (number + done) / len(self._names))

            if not self._fits(kept, again):
                with kept.alone(partial(part, f"another process builds {kept.name}", 0.0)):
                    if not self._fits(kept, again):  # of that process
                        self._build(name, kept, partial(part, f"building {kept.name}"))
        for name, kept in self._kept.items():
            with kept.read() as plan:
                if "difference" not in (about := kept.about()):
                    kept.note(tries=about.get("tries", 0) + 1)  # until it is compared: loading may end the process
                self.files[name] = self._load(name, plan)
        if new := {name: self.files[name] for name, kept in self._kept.items() if "difference" not in kept.about()}:
            tell("comparing engines with ONNX Runtime", 1.0)
            for name, apart in measure(new).items():
                self._kept[name].note(difference=apart, tries=0)
                self._check(name, apart)

    def close(self) -> None:
        """Let go of everything."""
        for engine in self.files.values():
            engine.forget()
        self.files = {}

    def _fits(self, kept: Kept, again: bool) -> bool:
        """Whether there is an engine of that key. Raises EncodersError where it is known to be none."""
        about = kept.about()
        try:
            if "failed" in about:
                raise EncodersError(f"{about['failed']}: tried before; {AGAIN}")
            if not kept.there():
                return False
            if "difference" in about:
                self._check(f"{kept.name.removesuffix('.engine')}.onnx", about["difference"])
            self._try(kept, about.get("tries", 0))
            if again:  # a damaged one is found by reading it
                with kept.read():
                    pass
        except EncodersError:
            if again:
                return False
            raise
        return True

    def _try(self, kept: Kept, tries: int) -> None:
        if tries >= TRIES:
            raise EncodersError(f"{kept.name} ended the process {tries} times: not used; {AGAIN}")

    def _build(self, name: str, kept: Kept, tell: Callable[[float], None]) -> None:
        if why := kept.why_not():
            self.remarks.append(f"{kept.name} is built again: {why}")
        start = monotonic()
        tell(0.0)
        try:
            plan = build(self._trt, self._log, self._exported.file(name), self._exported.profiles(name), _calm(tell))
        except EncodersError as error:
            kept.fail(error.message)
            raise
        kept.write(plan)
        self.remarks.append(f"{kept.name} was built in {monotonic() - start:.0f} s")

    def _load(self, name: str, plan: memoryview) -> Engine:
        path, profiles = self._exported.file(name), self._exported.profiles(name)
        return Engine(self._trt, self._log, self._gpu, path, plan, profiles, self._workspace)

    def _check(self, name: str, apart: float) -> None:
        """Raises EncodersError where an engine is too far from ONNX Runtime."""
        if not apart <= (allowed := ALLOWED[self._exported.precision_of(name)]):
            engine = name.replace(".onnx", ".engine")
            raise EncodersError(f"{engine} is {apart:.2g} from ONNX Runtime, at most {allowed}: not used; {AGAIN}")


def _calm(tell: Callable[[float], None]) -> Callable[[float], None]:
    """At most ten times a second."""
    last = 0.0

    def now_and_then(part: float) -> None:
        nonlocal last
        if monotonic() - last >= 0.1:
            last = monotonic()
            tell(part)

    return now_and_then
