"""Questions about a recording, a video or a folder of images: frames are chosen, the model looks, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import CoverageParams
from ..errors import BadMessage, ErrorCode, SpatialError
from ..evenly import Thinned
from ..frames import Frame
from ..mllm import Answer, AnswerType, Question, Verdict
from .cover import Cover
from .memory import FrameKey
from .selection import Sample

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

OnText = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A question, its answer, and (stamp_ns, camera) of the frames that the model looked at, in order of time.

    Attributes:
        answer: a PIXEL in pixels of the first of those frames.
        truth: what would be right, in words; empty where that is not known.
        right: whether the answer is; None where that is not known.
    """

    question: Question
    answer: Answer
    evidence: tuple[FrameKey, ...]
    truth: str = ""
    right: bool | None = None

    @property
    def has_vector(self) -> bool:
        """The answer is a pixel or a vector; all zeros can be one."""
        kinds = AnswerType.PIXEL, AnswerType.VECTOR
        return self.question.answer_type in kinds and self.answer.verdict == Verdict.ANSWERED

    def values(self) -> dict[str, Any]:
        """As JSON values: kinds and verdicts by their names, null for a value that is no number.

        ``vector`` is that of ``AskSpatial.srv``: metres, or for a pixel (u, v, 0) in pixels of the first frame.
        """
        answer = asdict(self.answer)
        del answer["frames"]
        answer["verdict"] = self.answer.verdict.name.lower()
        answer["value"] = None if isnan(self.answer.value) else self.answer.value
        kind = self.question.answer_type.name.lower()
        evidence = [{"stamp_ns": stamp, "camera": camera} for stamp, camera in self.evidence]
        values = {"question": asdict(self.question) | {"answer_type": kind}, "answer": answer, "evidence": evidence}
        return values | ({"truth": self.truth, "right": self.right} if self.truth else {})

    @classmethod
    def of(cls, values: Any) -> Asked:
        """The same from the values of :meth:`values`; ValueError where they are something else."""
        try:
            question, answer = dict(values["question"]), dict(values["answer"])
            question["options"] = tuple(question["options"])
            question["answer_type"] = AnswerType[question["answer_type"].upper()]
            answer["verdict"] = Verdict[answer["verdict"].upper()]
            answer["value"] = nan if answer["value"] is None else float(answer["value"])
            u, v, w = answer["vector"]
            answer["vector"] = (float(u), float(v), float(w))
            evidence = tuple((int(e["stamp_ns"]), str(e["camera"])) for e in values["evidence"])
            right = None if values.get("right") is None else bool(values["right"])
            return cls(Question(**question), Answer(**answer), evidence, str(values.get("truth", "")), right)
        except (AttributeError, KeyError, TypeError, ValueError, SpatialError) as error:
            raise ValueError(f"not an answer as `ask --json` prints it: {type(error).__name__} {error}") from None


def ask(engine: Engine, frames: Sequence[Frame], question: Question, on_text: OnText | None = None) -> Asked:
    """Ask a loaded model about frames, in order of time; a pixel is answered in pixels of the first it looked at.

    Args:
        on_text: called with the answer so far while it is written.
    Raises:
        SpatialError: what the engine says, such as FAILED where memory does not suffice.
    """
    answer = engine.ask([f.image for f in frames if f.image is not None], question, on_text=on_text)
    seen = [frames[i] for i in answer.frames]
    if seen:
        answer = answer.in_pixels(question, seen[0].camera.width, seen[0].camera.height)
    return Asked(question, answer, tuple(frame.key for frame in seen))


def choose_frames(frames: Iterable[Frame], params: CoverageParams) -> list[Frame]:
    """At most ``params.frames`` frames for the model, in order of time.

    Those that cover the scene best where frames have depth and pose (streaming selection, one pass), else frames evenly
    over time. Pixels are kept as they arrived, of at most ``5 * params.frames`` frames at once.

    Raises:
        SpatialError: NO_FRAMES where there is no colour image that can be decoded.
    """
    cover = Cover(params)
    even: Thinned[Frame] = Thinned(4 * params.frames)
    for frame in frames:
        if not frame.has_image:
            continue
        even.add(frame)
        voxels = cover.voxels(frame)
        frame.release()
        if voxels is not None:
            cover.offer(frame, voxels)
    chosen = [cover.frames[key] for key in cover.sampler.selected] or even.pick(params.frames)
    shown = [frame for frame in sorted(chosen, key=lambda f: f.key) if picture(frame) is not None]
    if not shown:
        raise SpatialError(ErrorCode.NO_FRAMES, "there is no colour image in it that can be decoded")
    return shown


def frames_of(frames: Iterable[Frame], sample: Sample) -> list[Frame]:
    """The frames of a selection, in order of time."""
    keys = {(chosen.stamp_ns, chosen.camera) for chosen in sample.frames}
    return [frame for frame in frames if frame.key in keys]


def picture(frame: Frame) -> NDArray[np.uint8] | None:
    """Its colour image, where it has one that can be decoded."""
    try:
        return frame.image
    except BadMessage:
        return None
