"""The one number of an answer in a model's own words; None where there is any doubt.

Beyond what ``read_quantity`` reads of the words without Markdown and LaTeX:

| what it has | rule |
|---|---|
| ``\\boxed{...}`` | what is in it; several boxes must say the same |
| "Answer: 3 m", "the answer is 3 m" | that, where all such places agree |
| "3 m (9.8 feet)", "20 m² (5 m x 4 m)", "2 (two)" | what stands in brackets must say the same within 2 % |
| "2 chairs: one here and one there" | what is counted up behind it must be as many |
| "3 m, because ...", "3 m\\n\\nExplanation: ..." | what stands before the reason, where nothing takes it back |
| "9 ft 10 in" | both together |
| "between the two chairs" | no number beside one with a unit |
"""

import re
from collections.abc import Callable
from math import isclose, prod

from spatial_mllm_ros.mllm.text.quantity import COUNTS, UNIT, UNITS, asked_unit, read_quantity, to_float
from spatial_mllm_ros.mllm.text.wrapping import unbox, unwrap

from .choices import TAKEN_BACK

SAME = 0.02  # share that the same length differs by in other units, rounded

_STATED = re.compile(
    r"(?:\banswer|\u7b54\u6848)(?:\s+(?:is|would be|should be)\s*:?|\s*[:=])\s*(?P<said>[^\n]*)", re.IGNORECASE
)
_DENIED = re.compile(r"\b(?:not|no|never|cannot|if|whether|wrong|incorrect|first|initial)\b|n't\b", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
_PRODUCT = re.compile(r"\s*(?:x|\u00d7|\*|\\times|by)\s*", re.IGNORECASE)
_REASON = re.compile(
    r"[\s,;.]*(?:\b(?:because|since|as (?:the|it|seen|shown)|given that)\b|\n\s*(?:explanation|reason(?:ing)?|note)\b)",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"(?<![\w.])[0-9][0-9.,]*|\b(?:{'|'.join(COUNTS)})\b", re.IGNORECASE)
_THE_TWO = re.compile(
    rf"\b(the|these|those)\s+(?:{'|'.join(COUNTS[2:])}|[0-9]+)\s+(?!(?:and|to|or|{UNIT})\b)(?=[a-z]+s\b)", re.IGNORECASE
)
_FEET_AND_INCHES = re.compile(
    r"(?<![\w.,])(\d+)\s*(?:'|ft|feet|foot),?\s*(\d+(?:\.\d+)?)\s*(?:\"|''|in(?:ch(?:es)?)?)(?!\w)", re.IGNORECASE
)

Read = Callable[[str], float | None]


def read_number(said: str, unit: str, question: str = "") -> float | None:
    """The one number of an answer in ``unit``, a key of UNITS or empty for a count; see the module.

    Args:
        question: a unit of the same dimension that it names is that of a bare number.
    """
    named = asked_unit(question)
    if named is None or not unit or UNITS[named][0] != UNITS[unit][0]:
        named = unit

    def read(words: str) -> float | None:
        found = read_quantity(words, f"unit: {named}" if unit else "")
        if found is None or (not unit and found.unit):
            return None
        return round(found.value / UNITS[unit][1], 9) if unit else found.value

    words = _FEET_AND_INCHES.sub(lambda found: f"{int(found[1]) + float(found[2]) / 12:.4f} ft", unwrap(said))
    if box := unbox(words):
        before, inside, after = box
        if _DENIED.search(re.split(r"[.!?;\n]", before)[-1]) or TAKEN_BACK.search(after):
            return None
        return _one(inside + re.split(r"[.!?;,\n]", after)[0], read, unit) if unit else _one(inside, read, unit)
    if "boxed" in words:
        return None
    if (value := _one(words, read, unit)) is not None:
        return value
    values = set()
    for stated in _STATED.finditer(words):
        before = re.split(r"[.!?;\n]", words[: stated.start()])[-1]
        lost = _DENIED.search(before) or TAKEN_BACK.search(words[stated.end() :])
        values.add(None if lost else _one(stated["said"], read, unit))
    return values.pop() if len(values) == 1 else None


def _one(words: str, read: Read, unit: str) -> float | None:
    if (value := read(words)) is not None:
        return value
    if unit and (value := read(_THE_TWO.sub(r"\1 ", words))) is not None:
        return value
    if reason := _REASON.search(words):
        before, after = words[: reason.start()], words[reason.end() :]
        return None if TAKEN_BACK.search(after) or not before.strip() else _one(before, read, unit)
    if whole := re.fullmatch(r"[\[{]([^\[\]{}]*)[\]}]\.?", words):
        return read(whole[1])
    if inside := _BRACKETS.findall(words):
        value = read(_BRACKETS.sub(" ", words).strip())
        told = [part for part in inside if _NUMBER.search(part)]
        same = (_same(value, part, read) or (not unit and _counted(part) == value) for part in told)
        return value if value is not None and all(same) else None
    if not unit and (head := re.match(r"[^:;\n\u2014]*", words)) and head.end() < len(words):
        value = read(head.group())
        return value if value is not None and _counted(words[head.end() :]) == value else None
    return None


def _counted(words: str) -> float | None:
    """The sum of all numbers; None without any, or with one that is in doubt."""
    counted = [_value(number.group()) for number in _NUMBER.finditer(words)]
    return None if not counted or None in counted else sum(filter(None, counted))


def _same(value: float | None, words: str, read: Read) -> bool:
    """Whether words in brackets say the same number, alone or as a product of sides."""
    other = read(words)
    if other is None and len(parts := _PRODUCT.split(re.sub(rf"(?<=\d)\s*(?:{UNIT})\b", "", words).strip())) > 1:
        sides = [_value(part) for part in parts]
        other = None if None in sides else prod(side for side in sides if side is not None)
    return value is not None and other is not None and isclose(value, other, rel_tol=SAME)


def _value(number: str) -> float | None:
    number = number.strip().rstrip(".,").lower()
    return float(COUNTS.index(number)) if number in COUNTS else to_float(number)
