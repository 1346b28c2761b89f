"""What a model's own probabilities are worth: ``calibration.json`` beside its weights. Needs no torch.

``spatial-mllm-training calibrate`` measures it on records that the model was not trained with. A model without that
file answers with bare probabilities.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from ..errors import ErrorCode, SpatialError
from ..files import write_whole
from .question import Answer, AnswerType, Question, Verdict
from .weights.shipped import NANO, find_shipped

FILE = "calibration.json"
NOT_OBSERVED = "not_observed"
KINDS = ("text", "number", "choice", "pixel", "vector", NOT_OBSERVED)
FRAMES = 16  # shown to a model that does not say what it was trained with
UNCALIBRATED = 0.5  # threshold of NOT_OBSERVED
CERTAIN = 1e-9  # from 0 and 1: logits stay finite


@dataclass(frozen=True)
class Scale:
    """From a bare confidence c to a calibrated one: logit(c') = slope * logit(c) + shift.

    Platt scaling, of which temperature scaling is the case shift = 0, slope = 1 / T (Guo et al., "On Calibration of
    Modern Neural Networks", 2017, section 4). The geometric mean of token probabilities needs the shift: of a number
    many are right, and each of them is unlikely.
    """

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, confidence: float) -> float:
        if self == Scale():
            return confidence
        c = min(max(confidence, CERTAIN), 1 - CERTAIN)
        x = self.slope * log(c / (1 - c)) + self.shift
        return 1 / (1 + exp(-x)) if x > -700 else 0.0


@dataclass(frozen=True)
class Calibration:
    """Figures that belong to the weights.

    Attributes:
        not_observed: NOT_OBSERVED where the probability that the model writes the refusal is above; None: it was not
            trained to refuse, and the refusal is weighed against the answer (see ``answering.refusal``).
        motion_confidence: confidence from which on its answer is a motion reward; None: it never is.
        max_frames: frames that it was trained with, and is shown at most; None: not known.
        confidence: kind of answer (one of ``KINDS``) -> what makes its confidence a probability of being right.
        reasoning: whether it was trained to think before it answers; None: not known, so it is tried.
    """

    not_observed: float | None = None
    motion_confidence: float | None = None
    max_frames: int | None = None
    confidence: Mapping[str, Scale] = field(default_factory=dict)
    reasoning: bool | None = None

    def under_an_adapter(self) -> "Calibration":
        """What is left of a model's figures with an adapter that has none of its own: what its confidences are worth,
        whether they make rewards, and whether it thinks, is not known any more."""
        return replace(self, motion_confidence=None, confidence={}, reasoning=None)

    def frames(self, asked: int = 0) -> int:
        """Frames to show it where so many are asked for; 0: as many as it was trained with, 16 where that is not known.

        What is beyond that is never shown: places of tokens would be new to it, and what it says nonsense.
        """
        if self.max_frames is None:
            return asked or FRAMES
        return min(asked or self.max_frames, self.max_frames)

    def remark(self, shown: int, asked: int) -> str:
        """Why so few frames were shown of those that were asked for; empty where there were no more to be had."""
        if self.max_frames is None or not shown == self.max_frames < asked:
            return ""
        return f"shown {shown} frame{'s' * (shown > 1)}, not {asked}: the model was trained with no more"

    def scaled(self, confidence: float, kind: str) -> float:
        """The calibrated confidence of an answer of a kind; the bare one where the kind was not calibrated."""
        return self.confidence.get(kind, Scale())(confidence)


def answer_kind(question: Question, answer: Answer) -> str:
    """The kind of an answer, one of ``KINDS``; what was asked for as AUTO is what the answer is."""
    if answer.verdict == Verdict.NOT_OBSERVED:
        return NOT_OBSERVED
    if question.options:
        return "choice"
    if question.answer_type == AnswerType.AUTO:
        return "number" if isfinite(answer.value) else "text"
    return question.answer_type.name.lower()


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a model folder; None where there is no ``calibration.json``.

    Raises:
        SpatialError: FAILED where the file cannot be read, or holds anything but what it should.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        raise _broken(path, "no readable JSON: calibrate the model again") from None
    known = [f.name for f in fields(Calibration)]
    if not isinstance(values, dict):
        raise _broken(path, f"{type(values).__name__}: expected an object")
    if odd := sorted(values.keys() - {*known}):
        raise _broken(path, f"unknown field '{odd[0]}': expected {', '.join(known)}")
    found: dict[str, Any] = {}
    for name in ("not_observed", "motion_confidence"):
        if values.get(name) is not None:
            found[name] = _number(path, name, values[name], 0, 1)
    if (most := values.get("max_frames")) is not None:
        if type(most) is not int or not 1 <= most <= 256:
            raise _broken(path, f"max_frames = {most!r}: expected a whole number from 1 to 256")
        found["max_frames"] = most
    if (reasoning := values.get("reasoning")) is not None:
        if type(reasoning) is not bool:
            raise _broken(path, f"reasoning = {reasoning!r}: expected true, false or null")
        found["reasoning"] = reasoning
    scales = values.get("confidence", {})
    if not isinstance(scales, dict) or not {*scales} <= {*KINDS}:
        raise _broken(path, f"confidence: expected an object with {', '.join(KINDS)}")
    found["confidence"] = {kind: _scale(path, kind, scale) for kind, scale in scales.items()}
    return Calibration(**found)


def calibration_of(folders: Sequence[Path]) -> Calibration:
    """That of a loaded model: of the adapter, whose folder is the second, where it has one, else of the model under it.

    Raises:
        SpatialError: FAILED as ``read_calibration``.
    """
    found = Calibration()
    for adapters, folder in enumerate(folders):
        found = read_calibration(folder) or (found.under_an_adapter() if adapters else found)
    return found


def known_calibration(model: str, adapter: str = "") -> Calibration:
    """What can be told of a model on this machine before it is loaded: that of the adapter, else of the model under it.

    The default one where neither has any, or a file is wrong: loading will say so.
    """
    for name in filter(None, (adapter, model)):
        folder = Path(name).expanduser()
        if name == NANO:
            folder = find_shipped() or folder
        elif "/" in name and not folder.exists():
            folder = _cached(name) or folder
        with suppress(SpatialError):
            if own := read_calibration(folder):
                return own.under_an_adapter() if adapter and name == model else own
    return Calibration()


def _cached(hub_id: str) -> Path | None:
    """The folder of a hub id's calibration in the hub's cache."""
    try:
        from huggingface_hub import try_to_load_from_cache

        name, _, revision = hub_id.partition("@")
        found = try_to_load_from_cache(name, FILE, revision=revision or None)
    except (ImportError, ValueError):  # ValueError: no name that the hub knows
        return None
    return Path(found).parent if isinstance(found, str) else None


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write it beside the weights; the file appears whole or not at all. Raises OSError."""
    write_whole(folder / FILE, json.dumps(asdict(calibration), indent=2) + "\n")
    return folder / FILE


def _scale(path: Path, kind: str, values: Any) -> Scale:
    if not isinstance(values, dict) or values.keys() != {"slope", "shift"}:
        raise _broken(path, f"confidence.{kind}: expected slope and shift")
    slope = _number(path, f"confidence.{kind}.slope", values["slope"], 0, 1000)
    return Scale(slope, _number(path, f"confidence.{kind}.shift", values["shift"], -1000, 1000))


def _number(path: Path, name: str, value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise _broken(path, f"{name} = {value!r}: expected a number from {low} to {high}")
    return float(value)


def _broken(path: Path, what: str) -> SpatialError:
    return SpatialError(ErrorCode.FAILED, f"{path.parent.name}: {path.name}: {what}")
