"""A number and its unit in a sentence: read only where there is one number and no doubt about what it means."""

import re
from dataclasses import dataclass
from math import pi

DEGREES = 180 / pi

UNITS: dict[str, tuple[str, float]] = {
    name: (unit, scale)
    for names, unit, scale in (
        ("m meter meters metre metres", "m", 1.0),
        ("cm centimeter centimeters centimetre centimetres", "m", 0.01),
        ("mm millimeter millimeters millimetre millimetres", "m", 0.001),
        ("km kilometer kilometers kilometre kilometres", "m", 1000.0),
        ("inch inches", "m", 0.0254),
        ("ft foot feet", "m", 0.3048),
        ("deg degs degree degrees °", "deg", 1.0),
        ("rad radian radians", "deg", DEGREES),
        ("s sec secs second seconds", "s", 1.0),
        ("ms millisecond milliseconds", "s", 0.001),
        ("min mins minute minutes", "s", 60.0),
        ("h hour hours", "s", 3600.0),
        ("m2", "m2", 1.0),
        ("ft2", "m2", 0.3048**2),
    )
    for name in names.split()
}
"""Name of a unit -> its SI unit here (m, m2, deg, s) and the factor to that."""

COUNTS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
"""Numbers that are read as words too."""

_UNREAD = r"(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand"
_METRES, _FEET = r"(?:m|met(?:er|re)s?)", r"(?:ft|foot|feet)"
_AREAS = tuple(
    (
        re.compile(
            rf"(?<![^\W\d_])(?:sq(?:uare|\.)?[\s-]*{name}\b|{name}\s+squared\b|{short}\s?(?:\^2|2)\b|{short}\s?²)",
            re.IGNORECASE,
        ),
        f"{short}2",
    )
    for name, short in ((_METRES, "m"), (_FEET, "ft"))
)
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_ASKED = re.compile(rf"\b(?:in|how many|unit:)\s+(?:whole\s+|full\s+)?(?!second\b)({UNIT})(?![\w/²³^])", re.IGNORECASE)
_MEASURED = re.compile(
    r"\bhow\s+(?:far|long|tall|high|wide|deep|thick|big|large|fast|heavy|much)\b"
    r"|\b(?:distance|length|height|width|depth|size|area|angle|displacement|duration)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\bhow many\b", re.IGNORECASE)
_NUMBER = re.compile(rf"(?<!\w)[-+]?[0-9][0-9.,]*|\b(?:{'|'.join(COUNTS)})\b", re.IGNORECASE)
_BEFORE = re.compile(r"(?:^|[\s(~≈=:])$")  # what a number may follow
_AFTER = re.compile(
    rf"(?:\s*|-)(?P<unit>{UNIT})(?=$|[\s.,;:!)])|\s*\((?P<inside>{UNIT})\)(?=$|[\s.,;:!)])|(?=$|[\s.,;:!)])",
    re.IGNORECASE,
)
_ALONE = (
    re.compile(  # what may surround a number that only the question gives a unit
        r"(?:^|\b(?:is|are|about|approximately|around|roughly|nearly|almost)\b|[~≈=:(])\s*$", re.IGNORECASE
    ),
    re.compile(r"^(?:[\s.,;:!)]*$|[.,;:!)]+\s)"),
)
_NAMED = r"\b(?:image|frame|picture|photo|view|step|option|figure|scene|camera|number)\s*$|"  # it counts nothing
_BOUND = re.compile(
    _NAMED
    + r"\b(?:than|least|most|over|under|below|above|within|exceeding|to|or|and|between|plus|minus)\s*$|[-<>≤≥±/$€]\s*$"
)
_DOUBT = re.compile(
    r"\b(?:not|no|never|cannot|or|more|less|fewer|least|most|per|unknown|unclear|unsure|uncertain)\b"
    rf"|n't\b|\b(?:{_UNREAD})\b"
)
_FOREIGN = re.compile(  # what makes the number before it another one than it seems
    rf"\s*(?:in$|(?:{UNIT})(?!\w)|(?:kg|g|grams?|kilograms?|lbs?|pounds?|percent|yards?|miles?|mph|hz|celsius|fahrenheit|c|f|square|squared"
    r"|sq|cubic|cubed|hundred|thousand|million|dozen|pairs?|couples?|half|halves|times|point|and a half)\b"
    r"|[^\w\s.,;:!()])"
)


@dataclass(frozen=True)
class Quantity:
    """A number in SI units: ``unit`` is m, m2, deg, s or empty for a count."""

    value: float
    unit: str


def asked_unit(question: str) -> str | None:
    """The unit (a key of ``UNITS``) that a question asks its answer in; None unless it names exactly one."""
    named = {unit.lower() for unit in _ASKED.findall(areas(question))}
    return named.pop() if len(named) == 1 else None


def read_quantity(text: str, question: str) -> Quantity | None:
    """The only number of an answer, as the question asked for it; None where there is any doubt.

    Read: ``3``, ``about 2.5 m``, ``2,5 m``, ``The table is 80 cm wide.``, ``There are three chairs.``, ``20m²``,
    ``215 square feet``. Doubtful: several
    numbers, ranges, bounds ("more than 3"), negations, other units, ``1,234`` (decimal comma or thousands), a
    length, angle or duration whose unit neither the answer nor the question names, units of two different kinds, and
    other words around a number that only the question gives a unit.
    """
    words = areas(text.replace("*", "").replace("\u2212", "-").replace("\u2019", "'")).strip().lower()
    found = list(_NUMBER.finditer(words))
    if len(found) != 1 or any(c.isnumeric() and c not in "0123456789" for c in words):
        return None
    number = found[0].group().rstrip(".,")
    before, after = words[: found[0].start()], words[found[0].start() + len(number) :]
    value = float(COUNTS.index(number)) if number in COUNTS else to_float(number)
    named = _AFTER.match(after)
    if value is None or named is None or not _BEFORE.search(before):
        return None
    around, after = (before, after), after[named.end() :]
    if _BOUND.search(before) or _DOUBT.search(before) or _DOUBT.search(after) or _FOREIGN.match(after):
        return None
    asked = asked_unit(question)
    own = named["unit"] or named["inside"]
    name = own or asked
    if name is None:
        measured = _MEASURED.search(question) or _ASKED.search(question)
        broken = _COUNTED.search(question) and (value < 0 or value % 1)
        return None if measured or broken else Quantity(value, "")
    if not own and not all(form.search(part) for form, part in zip(_ALONE, around)):
        return None
    unit, scale = UNITS[name]
    counted = asked is None and _COUNTED.search(question)
    if counted or (asked is not None and UNITS[asked][0] != unit):
        return None
    return Quantity(value * scale, unit)


def areas(text: str) -> str:
    """A text with all words for square metres and square feet as ``m2`` and ``ft2``."""
    for words, short in _AREAS:
        text = words.sub(short, text)
    return text


def to_float(number: str) -> float | None:
    """``1234``, ``0.5``, ``0,5``, ``1,234.5``, ``1,234,567`` as a float; None for ``1,234`` and anything else."""
    if re.fullmatch(r"[-+]?[0-9]{1,3}((,[0-9]{3})+\.[0-9]+|(,[0-9]{3}){2,})", number):
        return float(number.replace(",", ""))
    if re.fullmatch(r"[-+]?[1-9][0-9]{0,2},[0-9]{3}", number):
        return None
    if re.fullmatch(r"[-+]?[0-9]{1,15}([.,][0-9]{1,20})?", number):
        return float(number.replace(",", "."))
    return None
