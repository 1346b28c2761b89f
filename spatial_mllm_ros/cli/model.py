"""The model on the command line: loaded with a progress bar, answers shown while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import AskParams, Config
from ..frames import Frame
from ..mllm import Question
from ..mllm.calibration import known_calibration
from ..mllm.weights.shipped import chosen
from ..versions import outside
from .parse import frames_range, picture_sizes
from .show import count_frames
from .terminal import note, progress, track, warn, writing

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine
    from ..scene.asking import Asked


def load_engine(params: AskParams) -> Engine:
    """The model that answers here, in this process.

    Raises:
        SpatialError: it cannot be loaded. ValueError: none is named, and none ships that could run here.
    """
    model = require_model(params.model, params.encoders)
    from ..mllm import loading

    for odd in outside():
        warn(f"the model may fail: {odd}")
    with progress("loading the model") as move:
        loaded: Any = loading.load_engine(model, **params.options, progress=lambda stage, fraction: move(fraction, 1.0))
    if loaded.taken:
        note(f"model: {loaded.taken}")
    return loaded


def export_model(
    model: str, output: Path, precision: str, frames: str, sizes: Sequence[str] | None, overwrite: bool
) -> None:
    """Writes a model's encoders as ONNX files, and says how close they are."""
    within = frames_range(frames), picture_sizes(sizes)
    from ..mllm.families.exporting import export
    from ..simulation import make_room

    def pictures() -> list[Any]:
        room = make_room(seed=0, size=(160, 120), duration=4.0, fps=2.0)
        return [room.render(i).frame.image for i in range(len(room))]

    with progress("exporting") as move:
        done = export(model, output, pictures, precision, *within, overwrite, lambda _, part: move(part, 1.0))
    for name, file in done["files"].items():
        note(f"{name}: within {file['parity']['difference']:.1e} of torch")
    note(f"wrote {output}")


def build_engines(folder: Path, device: str) -> None:
    """Builds engines of TensorRT from exported encoders, for the GPU of this machine, and says what became of each."""
    from ..mllm.encoders.exported import read_exported
    from ..mllm.encoders.files import engines_of

    with progress("building engines") as move:
        engines = engines_of(read_exported(folder), device, lambda _, part: move(part, 1.0))
    for remark in engines.remarks or ["all engines were there"]:
        note(remark)
    note(engines.said)


def require_model(model: str, encoders: str = "") -> str:
    """The model that is meant. Raises ValueError where there is none."""
    if name := chosen(model, encoders):
        return name
    raise ValueError("which model? nano does not ship with this installation, or torch is missing: add --model M")


def answered(
    path: Path,
    questions: Sequence[Question],
    params: AskParams,
    config: Config,
    topics: dict[str, Any],
    space_aware: bool = False,
    engine: Engine | None = None,
) -> list[Asked]:
    """Answers about a recording, a video or a folder of images, whose frames are encoded once for all questions.

    Args:
        config: parameters that a recording is read with.
        space_aware: choose the frames by the model's own geometry.
        engine: the model, where it is loaded already.
    """
    from ..recordings import read_any
    from ..scene.asking import ask, choose_frames, frames_of
    from ..scene.selection import select_video

    model = require_model(params.model, params.encoders) if engine is None else ""
    known = engine.calibration if engine else known_calibration(model, params.adapter)
    most = known.frames(params.max_frames)
    coverage, total = replace(config.coverage, frames=most), count_frames(path)

    def read() -> Iterator[Frame]:
        return track(read_any(path, config, **topics), "choosing frames", total)

    if space_aware:
        engine = engine or load_engine(params)
        frames = frames_of(read(), select_video(read(), coverage, engine.geometry))
    else:
        frames = choose_frames(read(), coverage)  # first: an input that cannot be read costs no loading
        engine = engine or load_engine(params)
    found = []
    for question in questions:
        with writing() as on_text:
            one = ask(engine, frames, question, on_text)
        remark = known.remark(len(frames), params.max_frames)
        found.append(replace(one, answer=one.answer.noted(remark)))
    return found
