"""From an ONNX file to an engine, on the GPU that will run it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..exported import EncodersError

Profiles = Mapping[str, Mapping[str, Sequence[int]]]


def build(trt: Any, log: Any, file: Path, profiles: Profiles, tell: Callable[[float], None]) -> Any:
    """A serialised engine, strongly typed: float32 stays float32, not TF32.

    Args:
        trt, log: see ``library``. file: ONNX, with its weights.
        profiles: of each input, least, usual and largest shape.
        tell: is told the part that is done, 0..1, at each step; what it raises ends the build.
    Returns:
        Something with a buffer.
    Raises:
        EncodersError: TensorRT does not take the file, or cannot build it. MemoryError: not here.
    """
    log.forget()
    builder = trt.Builder(log)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only way from 11 on
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(file)):
        wrong = "; ".join(parser.get_error(i).desc() for i in range(min(parser.num_errors, 2))) or log.last
        raise EncodersError(f"TensorRT {trt.__version__} does not take {file.name}: {' '.join(wrong.split())[:300]}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, *(tuple(shapes[point]) for point in ("min", "opt", "max")))
    config.add_optimization_profile(profile)
    config.clear_flag(trt.BuilderFlag.TF32)
    if (resize := getattr(trt.PreviewFeature, "RUNTIME_ACTIVATION_RESIZE_10_10", None)) is not None:
        config.set_preview_feature(resize, True)  # from 10.10 on: memory of a clip as it is, not of the largest
    config.progress_monitor = monitor = _monitor(trt, tell)
    plan = builder.build_serialized_network(network, config)
    if monitor.raised is not None:
        raise monitor.raised
    if plan is None:
        log.raise_memory(file.name)
        raise EncodersError(f"TensorRT {trt.__version__} cannot build {file.name}: {log.last}")
    return plan


def _monitor(trt: Any, tell: Callable[[float], None]) -> Any:
    """A progress monitor: phases lie within each other, and so do their parts; what was said is never taken back."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            super().__init__()
            self.raised: BaseException | None = None
            self._phases: dict[str, list[int]] = {}  # open ones, the outermost first: done, of how many
            self._most = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._caught():
                self._phases[phase_name] = [0, max(1, num_steps)]

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._caught():
                if phase_name in self._phases:
                    self._phases[phase_name][0] = step + 1
                if self.raised is None:
                    tell(self._part())
            return self.raised is None

        def phase_finish(self, phase_name: str) -> None:
            with self._caught():
                self._phases.pop(phase_name, None)

        @contextmanager
        def _caught(self) -> Iterator[None]:
            """Into TensorRT's threads nothing must go, Ctrl-C neither."""
            try:
                yield
            except BaseException as error:
                self.raised = error

        def _part(self) -> float:
            part, share = 0.0, 1.0
            for done, steps in list(self._phases.values()):
                part += share * min(done, steps) / steps
                share /= steps
            self._most = min(max(self._most, part), 1.0)
            return self._most

    return Monitor()
