"""Questions in words: what is asked, the options, and the form that the answer is to have. Needs no torch."""

from ..question import AnswerType, Question
from .parsing import ANSWER, LETTERS, PIXEL_RANGE, THINK, kind_of
from .quantity import asked_unit

SHORT = "Please answer the question using a single word or phrase."  # these as in the training of the released models
OPTIONS = "Options:"
LETTER_ONLY = "Answer with the option's letter from the given choices directly."
WITH_UNIT = "Give one number and its unit."
POINT = (
    f"Give the point as (x, y), whole numbers from 0 to {PIXEL_RANGE} across and down the first image,"
    " or the one that is asked about."
)
OFFSET = "Give the vector as (right, down, forward), seen from the camera of the first image, in {unit}."
THINK_FIRST = (
    f"First think, between {THINK[0]} and {THINK[1]}; then put only the answer between {ANSWER[0]} and {ANSWER[1]}."
)


def prompt_text(question: Question) -> str:
    """What the user's turn says after the clip: question, options as lettered lines, and the form of the answer.

    An option is one line, whatever it contains: it cannot pass for another one.
    """
    options = [f"{letter}. {' '.join(option.split())}" for letter, option in zip(LETTERS, question.options)]
    options = [OPTIONS, *options] if options else []
    thinking = [THINK_FIRST] if question.with_reasoning else []
    return "\n".join([question.text.strip(), *options, _form(question), *thinking])


def _form(question: Question) -> str:
    unit = asked_unit(question.text)
    match kind_of(question):
        case AnswerType.CHOICE:
            return LETTER_ONLY
        case AnswerType.NUMBER:
            return SHORT if unit else f"{SHORT} {WITH_UNIT}"
        case AnswerType.PIXEL:
            return POINT
        case AnswerType.VECTOR:
            return OFFSET.format(unit=unit or "whole millimetres")
        case _:
            return SHORT
