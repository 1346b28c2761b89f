"""SQA3D (Ma et al., 2023): questions of someone who stands somewhere in a scanned room.

Folder as published: ``v1_balanced_questions_SPLIT_scannetv2.json`` and
``v1_balanced_sqa_annotations_SPLIT_scannetv2.json`` for ``test`` (else ``val``, ``train``), here or in
``sqa_task/balanced`` or ``balanced``; frames or videos of the scenes are looked for beside them, see ``find_media``.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from ...multispa.item import bad
from ..tables import Table, task_table
from . import Item, find_media, read_json, take
from .scanqa import matches

TITLE = "SQA3D"
MAIN = "EM"
METRICS = {
    "EM": "equal to the answer; capitals, symbols, articles, digits for words and known misspellings aside",
    "refined EM": "contained in the answer, or containing it, spaces aside",
}
SPLITS = ("test", "val", "train")
QUESTIONS, ANNOTATIONS = "v1_balanced_questions_{}_scannetv2.json", "v1_balanced_sqa_annotations_{}_scannetv2.json"
ORDER = ("what", "is", "how", "can", "which", "other")


def load(folder: Path) -> Iterator[Item]:
    """See ``Suite``."""
    place, split = _find(folder)
    questions, annotations = QUESTIONS.format(split), ANNOTATIONS.format(split)
    asked = {
        str(take(row, "question_id", (str, int), f"{questions}, question {number}")): row
        for number, row in enumerate(take(read_json(place / questions), "questions", list, questions), 1)
    }
    media = cache(partial(find_media, folder))
    for number, row in enumerate(take(read_json(place / annotations), "annotations", list, annotations), 1):
        where = f"{annotations}, annotation {number}"
        name = str(take(row, "question_id", (str, int), where))
        if name not in asked:
            raise bad(f"{where}: question_id {name} is not in {questions}")
        question, situation = (take(asked[name], f, str, f"{questions}, {name}") for f in ("question", "situation"))
        answers = tuple(take(answer, "answer", str, where) for answer in take(row, "answers", list, where))
        if not answers:
            raise bad(f"{where}: 'answers' is empty")
        scene = take(row, "scene_id", str, where)
        images, video = media(scene)
        text, meta = f"{situation} {question}", {"scene": scene}
        yield Item(name, first_word(question), text, answers, "text", answers, images=images, video=video, meta=meta)


def _find(folder: Path) -> tuple[Path, str]:
    """The folder of the two files, and their split."""
    places = [folder, folder / "sqa_task" / "balanced", folder / "balanced"]
    for split in SPLITS:
        for place in places:
            there = [(place / name.format(split)).is_file() for name in (QUESTIONS, ANNOTATIONS)]
            if all(there):
                return place, split
            if any(there):
                absent = (ANNOTATIONS if there[0] else QUESTIONS).format(split)
                raise bad(f"{folder} lacks {absent}, which belongs to the other file of that split")
    raise bad(f"{folder} has no {QUESTIONS.format('test')}: expected the published SQA3D folder")


def first_word(question: str) -> str:
    """The published breakdown: how a question begins."""
    start = question.lstrip().lower()
    return next((word for word in ORDER if start.startswith(word)), "other")


def score(item: Item, text: Any) -> dict[str, float]:
    """See ``Suite``. The first answer counts, as published; there is one."""
    return matches(item, text, item.answers[:1])


def tables(items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
    """See ``Suite``."""
    types = [item.question_type for item in items]
    return [task_table("Questions by their first word", METRICS, types, scores, order=ORDER)]
