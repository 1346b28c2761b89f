"""MultiSPA (Xu et al., "Multi-SpatialMLLM", 2025, section 5.1): spatial questions about one or more frames.

Folder: what ``multispa generate`` wrote, of which the test split counts; or one JSONL file of such records.
"""

import json
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ...multispa.item import LETTERS, NOT_OBSERVED, QUESTION_TYPES, bad
from ..scoring import pixel_error, relative_error, within_norm, within_width
from ..tables import Table, task_table
from . import Item, read_lines, take

TITLE = "MultiSPA"
MAIN = "accuracy"
METRICS = {
    "accuracy": "numbers and vectors within 20 % of the truth's norm, pixels within 5 % of the image's width, others"
    " exactly, refusals where nothing is to be seen",
    "readable": "answers that could be read as what was asked for",
}
FORMS = {"depth_comparison": LETTERS[:2], "correspondence_choice": LETTERS}
"""Letters to choose from, where a record lists no options, by the beginning of its type."""


def load(folder: Path) -> Iterator[Item]:
    """See ``Suite``."""
    if folder.is_file():
        files, root = [folder], folder.parent
    else:
        joined = folder / "test.jsonl"
        files, root = [joined] if joined.is_file() else sorted(folder.glob("annotations/test/*.jsonl")), folder
        if not files:
            raise bad(f"{folder} has no test.jsonl: expected a folder of multispa generate (--format jsonl), or a file")
    for file in files:
        for number, record in enumerate(read_lines(file), 1):
            yield item_of(record, root, f"{file.name}, record {number}")


def item_of(record: dict[str, Any], root: Path, where: str) -> Item:
    """A record as an item. Raises SpatialError BAD_REQUEST with the field that is wrong."""
    name, kind = take(record, "id", str, where), take(record, "question_type", str, where)
    if kind not in QUESTION_TYPES:
        raise bad(f"{where}: question_type '{kind}' is none of {', '.join(QUESTION_TYPES)}")
    meta, turns = take(record, "meta", dict, where), take(record, "conversations", list, where)
    texts = [take(turn, "value", str, where) for turn in turns]
    if len(texts) < 2:
        raise bad(f"{where}: 'conversations' has {len(texts)} turns, expected a question and its answer")
    if not all(isinstance(path, str) for path in take(record, "images", list, where)):
        raise bad(f"{where}: 'images' should be paths")
    images = tuple(root / path for path in record["images"])
    question = texts[0].replace("<image>", "").strip()
    value, listed = take(record, "gt_value", (str, int, float, list), where), meta.get("options") or []
    if not isinstance(listed, list):
        raise bad(f"{where}, meta: field 'options' is {type(listed).__name__}, expected list")
    options = options_of(record)
    output = "choice" if options else take(meta, "output", str, f"{where}, meta")
    try:
        if output == "pixel" and kind != NOT_OBSERVED:
            width, height = take(meta, "image_size", list, f"{where}, meta")
            if min(width, height) <= 0:
                raise ValueError
        truth = truth_of(value, output, options) if kind != NOT_OBSERVED else None
    except (ValueError, TypeError):
        raise bad(f"{where}: gt_value {value!r} is no answer of output '{output}'") from None
    unit = ("deg" if kind.endswith("degrees") else "mm") if output == "scalar" else ""
    answers = (" ".join(texts[1].split()),)
    return Item(name, kind, question, answers, output, truth, unit, options, images, meta=meta, given=record)


def options_of(record: dict[str, Any]) -> tuple[str, ...]:
    """What can be chosen: words, or the letters of points; empty where the answer is no choice."""
    meta = record["meta"]
    options = meta.get("options") or ()
    if options and all(isinstance(option, str) for option in options):
        return tuple(options)
    if options:
        return tuple(LETTERS[: len(options)])
    return tuple(next((letters for form, letters in FORMS.items() if record["question_type"].startswith(form)), ""))


def truth_of(value: Any, output: str, options: Sequence[str]) -> Any:
    """``gt_value`` as ``reading.read`` gives answers. Raises ValueError or TypeError."""
    if output == "choice":
        if value in options:
            return options.index(value)
        return LETTERS[: len(options)].index(value)
    if output == "scalar":
        return _finite(value)
    if output in ("pixel", "vector"):
        numbers = tuple(map(_finite, json.loads(value) if isinstance(value, str) else value))
        if len(numbers) != (2 if output == "pixel" else 3):
            raise ValueError
        return numbers
    if output != "text":
        raise ValueError
    return str(value)


def _finite(value: Any) -> float:
    if not isfinite(number := float(value)):
        raise ValueError
    return number


def score(item: Item, text: Any) -> dict[str, float]:
    """See ``Suite``."""
    read = item.read(text)
    readable = float(not read.problem)
    if item.question_type == NOT_OBSERVED:
        return {"accuracy": float(read.refused), "readable": readable, "error": float(not read.refused)}
    if read.value is None:
        return {"accuracy": 0.0, "readable": readable, "error": float("inf")}
    value = read.value
    if item.kind in ("scalar", "vector"):
        right, error = within_norm(value, item.truth), relative_error(value, item.truth)
    elif item.kind == "pixel":
        size = item.meta["image_size"]
        right, error = within_width(value, item.truth, size), pixel_error(value, item.truth, size)
    elif item.kind == "choice":
        right, error = value == item.truth, float(value != item.truth)
    else:
        right = str(value).strip(" .").casefold() == str(item.truth).casefold()
        error = float(not right)
    return {"accuracy": float(right), "readable": readable, "error": error}


def tables(items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
    """See ``Suite``."""
    return [task_table("Questions", METRICS, [item.question_type for item in items], scores, order=QUESTION_TYPES)]
