"""A record as tokens: what the model reads, and which of them it has to learn to say."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from spatial_mllm_ros.mllm import Question
from spatial_mllm_ros.mllm.families.base import Processor
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import count_tokens
from spatial_mllm_ros.mllm.text.tokens import encode_text

from ..multispa.question import question_of
from .answers import answer_of
from .records import Record, RecordFault

END = "<|im_end|>"
IGNORED = -100  # label of a token that is not learned
PLACES = re.compile(r"<(image|video)>")
_TEXT = "\ue000{}\ue001"  # stands for the n-th text while the chat template is rendered; no template contains it


class Tokens(NamedTuple):
    """Token ids of a whole conversation, and the same or IGNORED for each."""

    ids: list[int]
    labels: list[int]


def as_clip(record: Record, how: str, processor: Processor, grid: Sequence[int]) -> Tokens:
    """The way the node and ``evaluate`` ask (``Engine.ask``): the clip, the question, then the answer.

    Args:
        how: ``short`` or ``written``, see ``answer_of``.
        grid: (t, h, w) of the clip that all images of the record make.
    Raises:
        RecordFault: no question or no answer.
        SpatialError: the question is none.
    """
    question = question_in(record)
    asked = processor.prefix_ids(grid) + processor.question_ids(question)
    said = encode_text(processor.tokenizer, answer_of(record, how, question)) + processor.control_ids(END)
    return Tokens(asked + said, [IGNORED] * len(asked) + said)


def as_written(record: Record, how: str, processor: Processor, grids: dict[str, list[Sequence[int]]]) -> Tokens:
    """As the record itself says: its turns through the chat template, each ``<image>`` and ``<video>`` in its place.

    What people wrote is encoded apart, so that it can control nothing. All answers are learned. Media that the text
    gives no place come first.

    Args:
        grids: of its ``image``s and ``video``s, in order.
    Raises:
        RecordFault: no answer, or places and media do not match.
    """
    texts: list[tuple[str, bool]] = []  # and whether the model says it
    turns: list[dict[str, Any]] = []
    for role, value in _turns(record, how, grids):
        content = []
        for i, part in enumerate(PLACES.split(value)):  # text, image or video, text ...
            if i % 2:
                content.append({"type": part})
            elif part:
                content.append({"type": "text", "text": _TEXT.format(len(texts))})
                texts.append((part, role == "assistant"))
        turns.append({"role": role, "content": content})
    rendered = processor.render(turns)
    ids: list[int] = []
    labels: list[int] = []
    waiting = {getattr(processor, f"{kind}_token_id"): iter(found) for kind, found in grids.items()}
    end, spoken = processor.control_ids(END)[0], False
    for i, part in enumerate(re.split("\ue000(\\d+)\ue001", rendered)):
        if i % 2:
            text, spoken = texts[int(part)]
            added = encode_text(processor.tokenizer, text)
            labels += added if spoken else [IGNORED] * len(added)
        else:
            added = processor.control_ids(part)
            added = [token for held in added for token in _expand(held, waiting)]
            stops = spoken and added[:1] == [end]
            labels += added[:stops] + [IGNORED] * (len(added) - stops)
        ids += added
    return Tokens(ids, labels)


def question_in(record: Record) -> Question:
    """The question of the first human turn. Raises RecordFault where there is none."""
    turns = [turn for turn in record["conversations"] if turn["from"] == "human"]
    if not turns:
        raise RecordFault(f"{record['id']}: it has no question")
    asked = {**turns[0], "value": PLACES.sub("", turns[0]["value"]).strip()}
    return question_of({**record, "conversations": [asked]})


def _turns(record: Record, how: str, grids: dict[str, list[Sequence[int]]]) -> list[tuple[str, str]]:
    """Role and text of every turn; the answer in its short form where that is wanted and known."""
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    turns = [(roles[turn["from"]], turn["value"]) for turn in record["conversations"]]
    spoken = [i for i, (role, text) in enumerate(turns) if role == "assistant" and text.strip()]
    if not spoken:
        raise RecordFault(f"{record['id']}: it has no answer")
    if how == "short" and record["gt_value"] is not None and len(spoken) == 1:
        turns[spoken[0]] = ("assistant", answer_of(record, how, question_in(record)))
    turns = [(role, PLACES.sub("", text).strip() if role == "assistant" else text) for role, text in turns]
    for kind, found in grids.items():
        places = sum(text.count(f"<{kind}>") for _, text in turns)
        if not places and found:
            first = next((i for i, (role, _) in enumerate(turns) if role == "user"), 0)
            turns[first] = (turns[first][0], f"<{kind}>\n" * len(found) + turns[first][1])
        elif places != len(found):
            raise RecordFault(f"{record['id']}: {places} <{kind}> in the text, {len(found)} {kind}(s)")
    return turns


def _expand(token: int, waiting: dict[int, Any]) -> list[int]:
    """A token, as often as the picture that it stands for has tokens."""
    return [token] * count_tokens(next(waiting[token])) if token in waiting else [token]
