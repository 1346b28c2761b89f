"""A question and its answer, as the service, the command line and the model all know them. Needs no torch."""

from dataclasses import dataclass, replace
from enum import IntEnum
from math import nan

from ..errors import bad

MAX_QUESTION = 2000  # characters
MAX_OPTIONS = 26
MAX_OPTION = 200  # characters


class AnswerType(IntEnum):
    """The kinds of ``AskSpatial.srv``."""

    AUTO = 0
    TEXT = 1
    NUMBER = 2
    CHOICE = 3
    PIXEL = 4
    VECTOR = 5


class Verdict(IntEnum):
    """What the model says about its own answer; the constants of ``AskSpatial.srv``."""

    ANSWERED = 0
    NOT_OBSERVED = 1
    UNSURE = 2


@dataclass(frozen=True)
class Question:
    """One spatial question about a few frames.

    Attributes:
        text: the question, at most 2000 characters.
        options: choices to pick from; empty for other kinds.
        answer_type: kind of answer wanted; AUTO is CHOICE where there are options, else what the answer is.
        with_reasoning: think before answering, and say what was thought.

    Raises:
        SpatialError: BAD_REQUEST, with the field and what would be right.
    """

    text: str
    options: tuple[str, ...] = ()
    answer_type: AnswerType = AnswerType.AUTO
    with_reasoning: bool = False

    def __post_init__(self):
        if not self.text.strip():
            raise bad("question is empty")
        if len(self.text) > MAX_QUESTION:
            raise bad(f"question has {len(self.text)} characters: at most {MAX_QUESTION}")
        if self.answer_type not in AnswerType.__members__.values():
            kinds = ", ".join(f"{kind.name}={kind.value}" for kind in AnswerType)
            raise bad(f"answer_type {self.answer_type} is unknown: {kinds}")
        self._check_options()

    def _check_options(self) -> None:
        """Two or more different ones for a choice, none for other kinds."""
        if self.answer_type == AnswerType.CHOICE and not self.options:
            raise bad("answer_type CHOICE without options: expected at least 2")
        if self.options and self.answer_type not in (AnswerType.AUTO, AnswerType.CHOICE):
            raise bad("options are given: answer_type must be AUTO or CHOICE")
        if self.options and not 2 <= len(self.options) <= MAX_OPTIONS:
            raise bad(f"{len(self.options)} option(s): expected 2 to {MAX_OPTIONS}")
        if len({" ".join(option.split()) for option in self.options}) != len(self.options):
            raise bad("options: one is repeated")
        if any(not 0 < len(option.strip()) <= MAX_OPTION for option in self.options):
            raise bad(f"options: each needs 1 to {MAX_OPTION} characters")


@dataclass(frozen=True)
class Answer:
    """What the model answered.

    Attributes:
        verdict: whether it may be used.
        text: the answer in words; what the model said, where it could not be read as the kind that was asked for.
        value, unit: the number in SI units (``m``, ``m2``, ``deg``, ``s``, or empty for a count); NaN unless it is one.
        choice: index into the question's options; -1 unless one was chosen.
        vector: PIXEL: (u, v, 0) as fractions of the first frame's width and height, 0..1, or pixels after
            :meth:`in_pixels`; VECTOR: metres, axes of the first frame's camera (x right, y down, z forward); zeros
            otherwise.
        reasoning: what was thought, where reasoning was asked for.
        confidence: 0..1, from the probabilities of the answer's tokens.
        frames: indices of the frames it looked at, ascending, into those that were given.
        seconds_encode, seconds_generate: time spent on the images (0: they were known) and on the answer.
        note: anything the caller should know, such as that memory allowed only half of the frames, or why it is UNSURE;
            remarks are joined by semicolons; else empty.
    """

    verdict: Verdict
    text: str
    value: float = nan
    unit: str = ""
    choice: int = -1
    vector: tuple[float, float, float] = (0.0, 0.0, 0.0)
    reasoning: str = ""
    confidence: float = 0.0
    frames: tuple[int, ...] = ()
    seconds_encode: float = 0.0
    seconds_generate: float = 0.0
    note: str = ""

    def noted(self, *remarks: str) -> "Answer":
        """The same with these remarks after its own; empty ones are left out."""
        return replace(self, note="; ".join(filter(None, (self.note, *remarks))))

    def in_pixels(self, question: Question, width: int, height: int) -> "Answer":
        """A PIXEL of an image of this size in pixels, centre of the first at 0, in words too; others as they are."""
        if question.answer_type != AnswerType.PIXEL or self.verdict != Verdict.ANSWERED:
            return self
        u, v = self.vector[0] * width - 0.5, self.vector[1] * height - 0.5
        return replace(self, text=f"({u:.1f}, {v:.1f}) px", vector=(u, v, 0.0))
