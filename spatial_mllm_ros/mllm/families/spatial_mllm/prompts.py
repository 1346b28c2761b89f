"""Prompts as token ids: system, user (the clip, then the question), assistant, as released checkpoints were trained.

The clip comes first, so that all questions about it share what the model has read up to the end of the clip. What a
person wrote is encoded apart (``encode_text``): it can say anything and control nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from ...question import AnswerType, Question
from ...text.parsing import ANSWER, LETTERS, PIXEL_RANGE, THINK, kind_of
from ...text.quantity import asked_unit
from ...text.tokenizer import encode_text
from ...weights.files import ModelError
from .processor import SpatialMLLMProcessor, count_tokens

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

VISION_END = "<|vision_end|>"
_QUESTION = "\ue000"  # stands for the question while the chat template is rendered; no template contains it


class _Frame(NamedTuple):
    """A chat template around a clip and a question: text up to the clip, between the two, and after the question."""

    before: str
    between: str
    after: str


def prefix_ids(processor: SpatialMLLMProcessor, grid: Sequence[int]) -> list[int]:
    """Everything up to and including the end of a clip with grid (t, h, w): the same for every question about it."""
    frame = _frame(processor)
    clip = [processor.video_token_id] * count_tokens(grid)
    return control_ids(processor, frame.before) + clip + control_ids(processor, VISION_END)


def question_ids(processor: SpatialMLLMProcessor, question: Question) -> list[int]:
    """What follows the clip: the question, how to answer it, and the start of the assistant's turn."""
    frame = _frame(processor)
    return encode_text(processor.tokenizer, frame.between + prompt_text(question)) + control_ids(processor, frame.after)


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


def _frame(processor: SpatialMLLMProcessor) -> _Frame:
    """The checkpoint's chat template, rendered once around a clip and a stand-in for the question."""
    content = [{"type": "video"}, {"type": "text", "text": _QUESTION}]
    turn: Any = [{"role": "user", "content": content}]
    try:
        text = processor.apply_chat_template(turn, add_generation_prompt=True)
    except TemplateError as error:
        raise ModelError(f"the chat template cannot be rendered: {error}") from None
    before, clip, rest = str(text).partition(processor.video_token)
    between, asked, after = rest.partition(_QUESTION)
    if not (clip and asked and between.startswith(VISION_END)):
        raise ModelError("the chat template does not put <|video_pad|><|vision_end|> and the text in the user's turn")
    return _Frame(before, between.removeprefix(VISION_END), after)


def control_ids(processor: SpatialMLLMProcessor, text: str) -> list[int]:
    """Tokens of the template's own text, control tokens included."""
    return processor.tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]
