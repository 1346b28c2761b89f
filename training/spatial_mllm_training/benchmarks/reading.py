"""Any prediction to a value, by rules that are all written here; what is in doubt is unreadable, never guessed.

| prediction | rule |
|---|---|
| None, empty, only spaces | unreadable: empty |
| a number, a list of numbers, a list with one text | as if it had been written as text |
| a list of several texts, anything else | unreadable: not one answer |
| ``<answer>`` or ``<think>`` not closed, more than one of them | unreadable: what was cut off may have changed it |
| "not visible", "cannot be determined" and the like, as the whole answer | a refusal |
| a number with a unit | converted to the unit that is asked for; a unit of another dimension is unreadable |
| a number without a unit | in the unit that is asked for |
| words up to twelve | numbers; other number words are unreadable |
| ranges, bounds, several numbers, other languages around a number | unreadable |
| a choice | its letter, its text, or a sentence that names one option and denies nothing: see ``choices`` |
| a number in a sentence, a box, with its reason, or in two units | see ``numbers`` |
| marks of Markdown and LaTeX, quotes, tokens that end a text | count for nothing |
| a pixel, a vector | alone, or the only one in brackets where nothing is denied |
| a pixel with decimals | rounded; unreadable where both are at most 1: they may be fractions |
| more than 2000 characters where a value is asked for | unreadable: too long |
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spatial_mllm_ros.mllm import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import (
    LENGTH,
    MILLIMETRE,
    PIXEL_RANGE,
    answer_span,
    parse,
    read_pixel,
    read_vector,
)
from spatial_mllm_ros.mllm.text.wrapping import ended

from .choices import find_choice
from .numbers import read_number

MAX_ANSWER = 2000  # characters of an answer that is to be a value
KINDS = ("scalar", "vector", "pixel", "choice", "text")
NAMES = {"scalar": "number", "choice": "option"}

_BRACKETS = re.compile(rf"[\[(][^\[\]()]*[\])](?:\s*(?:{LENGTH})\b)?", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|no|never|neither|nor|or|either|cannot|unsure)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What a prediction says.

    Attributes:
        value: a float in the unit asked for; (right, down, forward) in millimetres; (x, y) in thousandths of width and
            height; the number of an option; or text. None where it is a refusal or unreadable.
        refused: it says that the thing is not to be seen or cannot be determined.
        problem: why it is unreadable; else empty.
        said: the answer without reasoning and tags.
    """

    value: float | tuple[float, ...] | int | str | None = None
    refused: bool = False
    problem: str = ""
    said: str = ""


def read(prediction: Any, kind: str, unit: str = "", options: Sequence[str] = (), question: str = "") -> Reading:
    """A prediction as an answer of a kind, see the module.

    Args:
        kind: one of KINDS. unit: of a scalar, a key of ``UNITS``; empty for a count.
        options: of a choice. question: a unit of the same dimension that it names is that of a bare number.
    """
    text, problem = as_text(prediction)
    if problem:
        return Reading(problem=problem)
    text = ended(text)
    start, end = answer_span(text)
    said = text[start:end].strip()
    if not said or any(tag in said for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        return Reading(problem="a tag is not closed, or nothing follows it")
    if len(said) > MAX_ANSWER and kind != "text":
        return Reading(problem=f"longer than {MAX_ANSWER} characters", said=said)
    if kind == "choice" and (choice := find_choice(said, options)) is not None:
        return Reading(choice, said=said)
    if is_refusal(said):
        return Reading(refused=True, said=said)
    if kind == "text":
        return Reading(said, said=said)
    value = _value(said, kind, unit, question) if kind != "choice" else None
    if value is None:
        return Reading(problem=f"no single {NAMES.get(kind, kind)} in it", said=said)
    return Reading(value, said=said)


def as_text(prediction: Any) -> tuple[str, str]:
    """(text, "") of a prediction, or ("", why it is none)."""
    if isinstance(prediction, list) and len(prediction) == 1:
        prediction = prediction[0]
    if is_number(prediction):
        return f"{prediction}", ""
    if isinstance(prediction, list) and prediction and all(map(is_number, prediction)):
        return f"[{', '.join(f'{number}' for number in prediction)}]", ""
    if prediction is None or prediction == [] or (isinstance(prediction, str) and not prediction.strip()):
        return "", "empty"
    if not isinstance(prediction, str):
        return "", "not one answer"
    return prediction, ""


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_refusal(said: str) -> bool:
    """Whether an answer says that it was not seen or cannot be determined: NOT_OBSERVED of ``mllm.text.parsing``."""
    return parse(said, Question("?", answer_type=AnswerType.TEXT)).verdict == Verdict.NOT_OBSERVED


def _value(said: str, kind: str, unit: str, question: str) -> float | tuple[float, ...] | None:
    match kind:
        case "scalar":
            return read_number(said, unit, question)
        case "vector":
            metres = _only(said, lambda part: read_vector(part, "unit: mm"))
            return tuple(value / MILLIMETRE for value in metres) if metres else None
        case "pixel":
            point = _only(said, lambda part: read_pixel(_whole(part)))
            return tuple(value * PIXEL_RANGE for value in point[:2]) if point else None
    raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")


def _whole(said: str) -> str:
    """A pixel with its decimals rounded; none where all numbers are at most 1: they may be fractions."""
    numbers = re.findall(r"[0-9]+(?:\.[0-9]+)?", said)
    if "." not in said or max(map(float, numbers), default=0.0) <= 1:
        return said
    return re.sub(r"[0-9]+\.[0-9]+", lambda found: str(round(float(found.group()))), said)


def _only(said: str, read_one: Callable[[str], tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """The whole answer read, or the only part of it in brackets that can be; not one that is denied, or one of two."""
    if (whole := read_one(said)) is not None:
        return whole
    if _DENIED.search(said):
        return None
    parts = [value for part in _BRACKETS.findall(said) if (value := read_one(part)) is not None]
    return parts[0] if len(parts) == 1 else None
