"""The model on the command line: loaded with a progress bar, answers shown while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import AskParams
from ..frames import Frame
from ..mllm import Question
from .options import coverage_config
from .show import count_frames
from .terminal import progress, track, writing

if TYPE_CHECKING:
    from ..asking import Asked
    from ..mllm.answering.engine import Engine


def load_engine(params: AskParams) -> Engine:
    """The model that answers here, in this process. Raises SpatialError where it cannot be loaded."""
    from ..mllm.answering.engine import Engine

    with progress("loading the model") as move:
        return Engine(
            params.model,
            adapter=params.adapter,
            device=params.device,
            dtype=params.dtype,
            max_tokens=params.max_tokens,
            not_observed=params.not_observed,
            progress=lambda stage, fraction: move(fraction, 1.0),
        )


def answered(
    path: Path, questions: Sequence[Question], params: AskParams, topics: dict[str, Any], space_aware: bool = False
) -> list[Asked]:
    """Answers about a recording, a video or a folder of images, whose frames are encoded once for all questions.

    Args:
        space_aware: choose the frames by the model's own geometry.
    """
    from ..asking import ask, choose_frames, frames_of
    from ..bags import read_any
    from ..sampling import select_video

    coverage, total = coverage_config(k=params.max_frames).coverage, count_frames(path)

    def read() -> Iterator[Frame]:
        return track(read_any(path, **topics), "choosing frames", total)

    if space_aware:
        engine = load_engine(params)
        frames = frames_of(read(), select_video(read(), coverage, engine.geometry))
    else:
        frames = choose_frames(read(), coverage)  # first: an input that cannot be read costs no loading
        engine = load_engine(params)
    found = []
    for question in questions:
        with writing() as on_text:
            found.append(ask(engine, frames, question, on_text))
    return found
