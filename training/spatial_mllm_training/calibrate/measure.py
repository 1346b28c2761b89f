"""What a model's probabilities are worth, measured on records that it was not trained with.

Three figures go into ``calibration.json`` beside the weights: from which probability of a refusal on to refuse, what
makes confidences probabilities of being right, and from which confidence on an answer about motion is a reward.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.cli.options import ask_params
from spatial_mllm_ros.cli.terminal import progress
from spatial_mllm_ros.mllm import Verdict
from spatial_mllm_ros.mllm.answering.refusal import REFUSAL
from spatial_mllm_ros.mllm.calibration import (
    NOT_OBSERVED,
    Calibration,
    Scale,
    answer_kind,
    known_calibration,
    write_calibration,
)

from ..benchmarks.answers import Model
from ..benchmarks.suites import Item, multispa
from ..multispa.question import question_of
from .scales import Floats, calibration_error, fit_scale, scaled
from .thresholds import BOTH, Threshold, find_threshold, motion_threshold

ALMOST = 1 - 1e-9  # as a threshold, refuses nothing of which there is any doubt
MOTION = ("camera_distance", "object_distance_coordinate")  # what rewards are asked by


@dataclass(frozen=True)
class Asked:
    """A question that was asked twice: what would be said, and how likely it is refused instead.

    Attributes:
        unseen: probability of the refusal.
        kind: of the answer, one of ``calibration.KINDS``.
        confidence: the answer's, bare.
        asks: of an unanswerable question, the type whose form it takes.
    """

    question_type: str
    unseen: float
    kind: str
    confidence: float
    right: bool
    asks: str = ""

    @property
    def motion(self) -> bool:
        return (self.asks or self.question_type) in MOTION

    @property
    def answerable(self) -> bool:
        return self.question_type != multispa.NOT_OBSERVED

    def given(self, threshold: float) -> tuple[str, float, bool]:
        """Kind, bare confidence and whether it is right, of what is said with a threshold of refusing."""
        if self.unseen > threshold or self.kind == NOT_OBSERVED:
            return NOT_OBSERVED, self.unseen, not self.answerable
        return self.kind, self.confidence, self.right and self.answerable


@dataclass(frozen=True)
class Kind:
    """How many answers of a kind there are and are right, and the error of their confidences before and after."""

    count: int
    accuracy: float
    before: float
    after: float


@dataclass(frozen=True)
class Found:
    """A calibration and what it rests on.

    Attributes:
        kinds: of answers, ``all`` the last.
        motion_count: answers about motion that are numbers, also to questions that cannot be answered.
        rewards: how many of them would be rewards, and the share of those that is right.
        curves: confidences [N] before and after, and which answers are right [N].
    """

    calibration: Calibration
    threshold: Threshold
    kinds: dict[str, Kind]
    motion_count: int
    rewards: tuple[int, float]
    curves: tuple[Floats, Floats, NDArray[np.bool_]] = field(repr=False)


def calibrate_model(
    model: str | Path,
    data: Path,
    *,
    max_frames: int = 0,
    reasoning: bool | None = None,
    limit: int | None = None,
    precision: float = 0.5,
    only_check: bool = False,
    **load: Any,
) -> Found:
    """Measure a model on records that it was not trained with, and write ``calibration.json`` beside its weights.

    Args:
        model, load: as of ``ask``: adapter, device, dtype, max_tokens; the file of an adapter is its own.
        data: what ``multispa generate`` wrote, or a JSONL file of such records.
        max_frames: frames that the model was trained with, and will be shown at most; 0: the most that a record shows,
            or more where the file that is there says so.
        reasoning: whether it was trained to think before it answers; None: as the file that is there says.
        limit: at most so many questions, evenly spread.
        precision: share of answers about motion that have to be right for them to be rewards.
        only_check: write nothing, and measure the calibration that there is.
    Raises:
        SpatialError: the model cannot be loaded or cannot answer; the data are wrong.
        ValueError: no question is answerable, or every one; there is no calibration to be checked. OSError.
    """
    from spatial_mllm_ros.mllm.weights.files import find_folder

    folder = find_folder(load["adapter"], "adapter") if load.get("adapter") else find_folder(model)
    items = list(multispa.load(data))
    if limit is not None:
        items = items[:: max(1, -(-len(items) // limit))]
    known = known_calibration(str(model), load.get("adapter", ""))
    most = max_frames or max(known.max_frames or 1, *(len(item.images) for item in items))
    params = ask_params(model=str(model), max_frames=most, **load)
    asking = Model(params, data if data.is_dir() else data.parent)
    own = asking.engine.calibration
    with progress("asking") as move:
        asked = ask_all(asking, items, lambda count: move(count, len(items)))
    if only_check:
        return check(asked, own)
    found = calibrate(asked, most, precision, known.reasoning if reasoning is None else reasoning)
    write_calibration(folder, found.calibration)
    return found


def ask_all(model: Model, items: Iterable[Item], told: Callable[[int], None] = lambda count: None) -> list[Asked]:
    """Ask a model every question twice, its images encoded once.

    Args:
        told: called with the number of questions done.
    Raises:
        SpatialError: the model cannot be loaded or cannot answer, or an image is missing.
    """
    bare = {"not_observed": 0.5, "confidence": {}, "max_frames": None}
    model.engine.calibration = replace(model.engine.calibration, **bare)
    asked = []
    for item in items:
        record = item.record()
        refused = model.ask(record, not_observed=0.0)
        unseen = refused.confidence if refused.text == REFUSAL else 0.0  # less than a float can hold
        said = model.ask(record, not_observed=ALMOST)
        refuses = said.verdict == Verdict.NOT_OBSERVED
        right = not refuses and bool(multispa.score(item, said.text)["accuracy"])
        kind = answer_kind(question_of(record), said)
        asks = str((record["meta"].get("bins") or {}).get("asks", ""))
        asked.append(Asked(item.question_type, unseen, kind, said.confidence, right, asks))
        told(len(asked))
    return asked


def calibrate(asked: Sequence[Asked], max_frames: int, precision: float = 0.5, reasoning: bool | None = None) -> Found:
    """The calibration that these answers speak for; errors after it are those of figures from the other half of them.

    Args:
        max_frames: frames that the model was trained with.
        precision: share of answers about motion that have to be right for them to be rewards.
        reasoning: whether it was trained to think; None: not known.
    Raises:
        ValueError: no question is answerable, or every one.
    """
    answerable = np.array([a.answerable for a in asked], bool)
    unseen = np.array([a.unseen for a in asked])
    threshold = find_threshold(unseen[answerable], unseen[~answerable]).value
    said = Said.of(asked, threshold)
    scales = {kind: fit_scale(said.bare[part], said.right[part]) for kind, part in said.kinds().items()}
    half = np.arange(len(asked)) % 2 == 0
    crossed = np.empty_like(said.bare)
    for part in said.kinds().values():
        for fitted, judged in ((half & part, ~half & part), (~half & part, half & part)):
            crossed[judged] = scaled(fit_scale(said.bare[fitted], said.right[fitted]), said.bare[judged])
    motion = said.motion
    sure = scaled(scales.get("number", Scale()), said.bare[motion])
    least = motion_threshold(sure, said.right[motion], precision)
    return found_in(asked, said, Calibration(threshold, least, max_frames, scales, reasoning), crossed)


def check(asked: Sequence[Asked], calibration: Calibration) -> Found:
    """How good a calibration is on answers that it was not made from.

    Raises:
        ValueError: there is none; no question is answerable, or every one.
    """
    if calibration.not_observed is None:
        raise ValueError("the model has no calibration that could be checked: calibrate it first")
    said = Said.of(asked, calibration.not_observed)
    after = np.array([calibration.scaled(float(c), kind) for c, kind in zip(said.bare, said.kind, strict=True)])
    return found_in(asked, said, calibration, after)


@dataclass(frozen=True)
class Said:
    """What was said to questions: kind, bare confidence, whether it is right, whether it is about motion; [N] each."""

    kind: list[str]
    bare: Floats
    right: NDArray[np.bool_]
    motion: NDArray[np.bool_]

    @classmethod
    def of(cls, asked: Sequence[Asked], threshold: float) -> "Said":
        given = [a.given(threshold) for a in asked]
        kind = [kind for kind, _, _ in given]
        motion = [a.motion and k == "number" for a, k in zip(asked, kind, strict=True)]
        return cls(kind, np.array([c for _, c, _ in given]), np.array([r for *_, r in given]), np.array(motion))

    def kinds(self) -> dict[str, NDArray[np.bool_]]:
        """Which answers are of each kind that there is."""
        return {kind: np.array([k == kind for k in self.kind]) for kind in sorted(set(self.kind))}


def found_in(asked: Sequence[Asked], said: Said, calibration: Calibration, after: Floats) -> Found:
    """A calibration with its errors; ``after`` are the confidences [N] that count."""
    rows = {}
    for kind, part in {**said.kinds(), "all": np.ones(len(asked), bool)}.items():
        right = said.right[part]
        errors = (calibration_error(confidence[part], right) for confidence in (said.bare, after))
        rows[kind] = Kind(int(part.sum()), float(right.mean()), *errors)
    refused = np.array([kind == NOT_OBSERVED for kind in said.kind])
    answerable = np.array([a.answerable for a in asked], bool)
    if answerable.all() or not answerable.any():
        raise ValueError(BOTH)
    value = calibration.not_observed or 0.0
    at = Threshold(value, float(refused[~answerable].mean()), float(refused[answerable].mean()))
    least = calibration.motion_confidence
    paid = said.motion & (after >= (np.inf if least is None else least))
    rewards = int(paid.sum()), float(said.right[paid].mean()) if paid.any() else 0.0
    return Found(calibration, at, rows, int(said.motion.sum()), rewards, (said.bare, after, said.right))
