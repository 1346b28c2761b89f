"""VSI-Bench (Yang et al., "Thinking in Space", 2024): videos of rooms, answers of one number or one letter.

Folder as published: ``test.jsonl``, or ``test-*.parquet``, and beside it ``DATASET/SCENE.mp4``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from ...multispa.item import bad
from ..reading import as_text
from ..scoring import mean_relative_accuracy, relative_error
from ..tables import Table, task_table
from . import Item, find_media, read_lines, take

TITLE = "VSI-Bench"
MAIN = "score"
METRICS = {
    "score": "accuracy of choices, mean relative accuracy (MRA) of numbers",
    "as published": "the same by the authors' code: the first word of the answer, MRA with the limit included",
}
CHOICES = (
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "route_planning",
    "obj_appearance_order",
)
NUMBERS = {
    "object_counting": "",
    "object_abs_distance": "m",
    "object_size_estimation": "cm",
    "room_size_estimation": "m2",
}
"""Question types with a number -> its unit."""

ORDER = (*NUMBERS, "object_rel_distance", "object_rel_direction", "route_planning", "obj_appearance_order")
FIELDS = ("id", "dataset", "scene_name", "question_type", "question", "ground_truth", "options")


def load(folder: Path) -> Iterator[Item]:
    """See ``Suite``."""
    media = cache(partial(find_media, folder if folder.is_dir() else folder.parent))
    for number, row in enumerate(_rows(folder), 1):
        yield _item(media, row, f"question {number}")


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    if folder.is_file() and folder.suffix == ".jsonl":
        yield from read_lines(folder)
    elif (lines := folder / "test.jsonl").is_file():
        yield from read_lines(lines)
    elif files := sorted(folder.glob("**/test-*.parquet")):
        import pyarrow.parquet as parquet

        for file in files:
            try:
                table = parquet.ParquetFile(file)
                columns = [name for name in FIELDS if name in table.schema_arrow.names]
                for batch in table.iter_batches(columns=columns):
                    yield from batch.to_pylist()
            except (OSError, ValueError) as error:
                raise bad(f"{file.name} cannot be read as Parquet: {error}") from None
    else:
        raise bad(f"{folder} has neither test.jsonl nor test-*.parquet: expected the published VSI-Bench folder")


def _item(media: Callable[..., tuple[tuple[Path, ...], Path | None]], row: dict[str, Any], where: str) -> Item:
    kind = take(row, "question_type", str, where)
    if kind not in CHOICES and kind not in NUMBERS:
        raise bad(f"{where}: question_type '{kind}' is none of {', '.join((*NUMBERS, *CHOICES))}")
    truth, scene = take(row, "ground_truth", (str, int, float), where), take(row, "scene_name", str, where)
    options, meta = (), {"scene": scene, "dataset": str(row.get("dataset", ""))}
    if kind in CHOICES:
        lettered = take(row, "options", list, where)
        options = tuple(re.sub(r"^\s*[A-Z][.:)]\s*", "", str(option)) for option in lettered)
        letter = str(truth).strip().upper()
        if len(letter) != 1 or not 0 <= ord(letter) - ord("A") < len(options):
            raise bad(f"{where}: ground_truth '{truth}' is not the letter of one of its {len(options)} options")
        value: Any = ord(letter) - ord("A")
        answer = letter
    else:
        try:
            value = float(truth)
        except ValueError:
            value = nan
        if not isfinite(value):
            raise bad(f"{where}: ground_truth '{truth}' is no number")
        answer = f"{truth} {NUMBERS[kind]}".strip()
    images, video = media(scene, meta["dataset"])
    return Item(
        str(take(row, "id", (int, str), where)),
        kind,
        take(row, "question", str, where),
        (answer,),
        "choice" if kind in CHOICES else "scalar",
        value,
        NUMBERS.get(kind, ""),
        options,
        images,
        video,
        meta,
    )


def score(item: Item, text: Any) -> dict[str, float]:
    """See ``Suite``."""
    read = item.read(text)
    if item.kind == "choice":
        found = float(read.value == item.truth and not read.problem and not read.refused)
        return {"score": found, "as published": _published(item, text), "error": 1 - found}
    value = read.value if isinstance(read.value, float) else None
    found = 0.0 if value is None else mean_relative_accuracy(value, item.truth)
    error = float("inf") if value is None else relative_error(value, item.truth)
    return {"score": found, "as published": _published(item, text), "error": error}


def _published(item: Item, text: Any) -> float:
    """The published rule, of what stands between answer tags where there are some: the first word, without its full
    stop, is the letter or the number; an error at the limit counts as inside."""
    said = as_text(text)[0].rpartition("<answer>")[2].rpartition("</think>")[2].partition("</answer>")[0]
    word = said.strip().split(" ", 1)[0].rstrip(".").strip()
    if item.kind == "choice":
        return float(word.lower() == item.answers[0].lower())
    try:
        value = float(word)
    except ValueError:
        return 0.0
    away = abs(value - item.truth) / item.truth if item.truth else float("inf")
    return float(np.mean(away <= 1 - np.linspace(0.5, 0.95, 10)))


def merged(question_type: str) -> str:
    """The task of a question type: the three directions are one, whose figure is the mean of theirs."""
    return "object_rel_direction" if question_type.startswith("object_rel_direction") else question_type


def tables(items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
    """See ``Suite``."""
    types = [item.question_type for item in items]
    note = "The published average is the mean of tasks; object_rel_direction is the mean of its three difficulties."
    return [task_table("Tasks", METRICS, types, scores, merged, ORDER, note)]
