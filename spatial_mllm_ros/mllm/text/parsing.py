"""What the model wrote, as the answer that was asked for, or UNSURE. Strict: nothing is guessed into an answer."""

import re
from collections.abc import Sequence
from dataclasses import replace

from ..question import Answer, AnswerType, Question, Verdict
from .nonsense import is_nonsense
from .quantity import COUNTS, UNITS, asked_unit, read_quantity, to_float
from .sense import fits
from .wrapping import unwrap

THINK = ("<think>", "</think>")
ANSWER = ("<answer>", "</answer>")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PIXEL_RANGE = 1000  # coordinates of a pixel are thousandths of the image's width and height
MILLIMETRE = 0.001  # unit of a vector, unless the answer or the question names another
NONSENSE = "its words repeat or are none"  # why an answer, or what was thought before it, is worth nothing
UNFIT = "a quantity is no answer to this question, or not in this unit"

_REFUSAL = re.compile(
    r"(?:sorry,? )?(?:(?:it|this|that|(?:the|an?|any) (?:[\w-]+ ){1,6}?)\s*)?(?:(?:is|are|was|were) ?)?(?:"
    r"(?:not|never|n't) (?:visible|observed|seen|shown|present|in (?:view|sight))"
    r"|(?:cannot|can't|can not|could not) be (?:seen|observed|determined|found|answered)"
    r")(?: (?:in|from|on) (?:(?:the|these|those|any|any of the) )?(?:(?:given|provided) )?"
    r"(?:images?|frames?|video|views?|scene|clip))?"
)
_DONT_KNOW = re.compile(r"(?:i am |i'm )?(?:unknown|unsure|not sure|uncertain|unclear)|i (?:do not|don't) know")
_LEAD = re.compile(
    r"(?:the )?(?:(?:correct|best|final|right) )?(?:answer|option|choice)(?: is)?(?:\s*:\s*|\s+)", re.IGNORECASE
)
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,)]?")
_LETTER_AND_TEXT = re.compile(r"(?:\(([A-Z])\)[.:]?|([A-Z])[.:)])\s*(.+)", re.DOTALL)
_SIGNED = r"([-+]?[0-9]+(?:\.[0-9]+)?)"
_PIXEL = re.compile(
    r"[(\[]?\s*(?:x\s*[=:]\s*)?([0-9]{1,4})\s*,\s*(?:y\s*[=:]\s*)?([0-9]{1,4})\s*[)\]]?\.?", re.IGNORECASE
)
LENGTH = "|".join(sorted((re.escape(name) for name, (unit, _) in UNITS.items() if unit == "m"), key=len, reverse=True))
_VECTOR = re.compile(
    r"[(\[]?\s*"
    + r"\s*,\s*".join(
        rf"(?:(?:{axis})\s*[=:]?\s*)?{_SIGNED}(?:\s*({LENGTH}))?" for axis in ("right|x", "down|y", "forward|z")
    )
    + rf"\s*[)\]]?(?:\s*({LENGTH}))?\.?",
    re.IGNORECASE,
)


def parse(text: str, question: Question) -> Answer:
    """The model's text as an answer, its confidence not yet known.

    Reasoning and answer are told apart as ``answer_span`` does. A whole answer that says that the thing was not seen or
    cannot be determined is NOT_OBSERVED; one that does not fit the kind that was asked for, or says "I don't know", is
    UNSURE and keeps its words. So is nonsense (see ``nonsense``), also where only what was thought is, and a quantity
    that the question has no room for (see ``sense``); the note says so. Without a kind and options, a number with one
    word at most is a number, the rest text. Marks of Markdown and LaTeX count for nothing.

    Returns:
        Answer with verdict, text, value and unit (SI), choice, vector, reasoning and note.
    """
    start, end = answer_span(text)
    said, thought = text[start:end].strip(), _reasoning(text[:start])
    if not said or any(tag in said for tag in (*THINK, *ANSWER)):
        answer = Answer(Verdict.UNSURE, said or text.strip())
    else:
        answer = _read(said, question)
    if answer.verdict == Verdict.ANSWERED and is_nonsense(thought):
        answer = Answer(Verdict.UNSURE, said, note=f"of its reasoning: {NONSENSE}")
    return replace(answer, reasoning=thought)


def _read(said: str, question: Question) -> Answer:
    """The answer alone, not empty."""
    kind, bare = kind_of(question), unwrap(said) or said
    if kind == AnswerType.CHOICE and (choice := read_choice(bare, question.options)) is not None:
        return Answer(Verdict.ANSWERED, question.options[choice].strip(), choice=choice)
    if _REFUSAL.fullmatch(plain(said)):
        return Answer(Verdict.NOT_OBSERVED, said)
    if is_nonsense(said):
        return Answer(Verdict.UNSURE, said, note=NONSENSE)
    if kind in (AnswerType.TEXT, AnswerType.NUMBER, AnswerType.AUTO) and not fits(said, question.text):
        return Answer(Verdict.UNSURE, said, note=UNFIT)
    if kind == AnswerType.NUMBER or (kind == AnswerType.AUTO and is_bare_number(bare)):
        if quantity := read_quantity(bare, question.text):
            return Answer(Verdict.ANSWERED, said, quantity.value, quantity.unit)
    elif kind == AnswerType.PIXEL and (point := read_pixel(bare)):
        return Answer(Verdict.ANSWERED, said, vector=point)
    elif kind == AnswerType.VECTOR and (vector := read_vector(bare, question.text)):
        return Answer(Verdict.ANSWERED, said, vector=vector)
    if kind in (AnswerType.TEXT, AnswerType.AUTO) and any(map(str.isalnum, said)):
        return Answer(Verdict.UNSURE if _DONT_KNOW.fullmatch(plain(said)) else Verdict.ANSWERED, said)
    return Answer(Verdict.UNSURE, said)


def answer_span(text: str) -> tuple[int, int]:
    """Where in the text the answer itself stands, as (start, end); empty, at the end, where there is none.

    Between the answer tags, which must be one pair with nothing after it; without them, after the thoughts; without
    those either, all of it. An unclosed tag leaves no answer: what was cut off may have changed it.
    """
    none = len(text), len(text)
    if ANSWER[0] in text or ANSWER[1] in text:
        start, end = text.find(ANSWER[0]) + len(ANSWER[0]), len(text.rstrip()) - len(ANSWER[1])
        once = text.count(ANSWER[0]) == text.count(ANSWER[1]) == 1
        return (start, end) if once and start <= end == text.find(ANSWER[1]) else none
    if THINK[0] in text or THINK[1] in text:
        return (text.find(THINK[1]) + len(THINK[1]), len(text)) if text.count(THINK[1]) == 1 else none
    return 0, len(text)


def kind_of(question: Question) -> AnswerType:
    """The kind of answer, AUTO with options being CHOICE."""
    return AnswerType.CHOICE if question.options else question.answer_type


def read_choice(said: str, options: Sequence[str]) -> int | None:
    """Index of the one option that is named by its letter, its text, or both agreeing; None where that is in doubt.

    Read: ``B``, ``b``, ``(B)``, ``B.``, ``B. the text``, ``the text``, each also after "The answer is".
    """
    named: set[int] = set()
    for form in {said, _LEAD.sub("", said, count=1) if _LEAD.match(said) else said}:
        named |= {i for i, option in enumerate(options) if plain(option) == plain(form)}
        if letter := _LETTER.fullmatch(form.strip(" .*\"'")):
            named.add(LETTERS.index(letter[1].upper()))
        elif (both := _LETTER_AND_TEXT.fullmatch(form)) and (index := LETTERS.index(both[1] or both[2])) < len(options):
            named |= {index} if plain(both[3]) == plain(options[index]) else set()
    return named.pop() if len(named) == 1 and max(named) < len(options) else None


def read_pixel(said: str) -> tuple[float, float, float] | None:
    """``(x, y)``, whole thousandths of width and height, as fractions (u, v, 0); None for anything else."""
    found = _PIXEL.fullmatch(said)
    if not found or not _closed(said) or max(x := int(found[1]), y := int(found[2])) > PIXEL_RANGE:
        return None
    return x / PIXEL_RANGE, y / PIXEL_RANGE, 0.0


def read_vector(said: str, question: str) -> tuple[float, float, float] | None:
    """``(right, down, forward)`` in metres; None for anything else.

    The unit stands once behind the vector or behind each number, else the question names it, else the numbers are
    whole millimetres. Decimals without any unit are in doubt.
    """
    found = _VECTOR.fullmatch(said.replace("\u2212", "-"))
    if not found or not _closed(said):
        return None
    numbers, units = found.groups()[0:6:2], [unit.lower() for unit in (*found.groups()[1:6:2], found[7]) if unit]
    values = [to_float(number) for number in numbers]
    asked = asked_unit(question)
    if asked is not None and UNITS[asked][0] != "m":
        asked = None
    if any(value is None for value in values) or len({*units}) > 1 or len(units) not in (0, 1, 3):
        return None
    if len(units) == 1 and not (found[6] or found[7]):
        return None
    if units or asked:
        scale = UNITS[units[0] if units else asked or ""][1]
    elif any("." in number for number in numbers):
        return None
    else:
        scale = MILLIMETRE
    right, down, forward = (float(value or 0.0) * scale for value in values)
    return right, down, forward


def _closed(said: str) -> bool:
    """Whether each bracket has its other half; an answer that was cut off lacks one."""
    return said.count("(") == said.count(")") and said.count("[") == said.count("]")


def is_bare_number(said: str) -> bool:
    """Whether an answer is one number (``3``, ``three``, ``2.5 m``, ``3 chairs``) and at most one more word."""
    words = said.lower().split()
    return len(words) <= 2 and (words[0].strip(".") in COUNTS or re.match(r"[-+]?[0-9]", words[0]) is not None)


def plain(text: str) -> str:
    """Text for comparing: one case, single spaces, no quotes, stars or full stop around it."""
    return " ".join(text.split()).replace("\u2019", "'").strip(" .!*\"'").casefold()


def _reasoning(before: str) -> str:
    """What was thought before the answer, without tags."""
    return re.sub("|".join((*THINK, *ANSWER)), " ", before).strip()
