"""Abstention: are questions refused that the images do not answer, and only those? Data as for MultiSPA."""

from collections.abc import Sequence
from typing import Any

from ...multispa.item import NOT_OBSERVED, QUESTION_TYPES
from ..tables import Table, task_table
from . import Item, multispa

TITLE = "Abstention"
MAIN = "right to refuse or not"
METRICS = {
    "refused": "answers that say that the thing is not to be seen or cannot be determined (NOT_OBSERVED of the parser)",
    MAIN: "refused where the images do not answer the question, not refused where they do",
}

load = multispa.load


def score(item: Item, text: Any) -> dict[str, float]:
    """See ``Suite``. What cannot be read at all is no refusal; of an answerable question it is not right either."""
    read = item.read(text)
    refused = float(read.refused)
    right = refused if item.question_type == NOT_OBSERVED else float(not read.refused and not read.problem)
    return {"refused": refused, MAIN: right, "error": 1 - right}


def tables(items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
    """See ``Suite``: one table by whether there is an answer, one by what the question asks for."""
    answerable = ["answerable" if item.question_type != NOT_OBSERVED else "not answerable" for item in items]
    note = (
        "Good is 100 % of what is not answerable and 0 % of what is. The mean of tasks of the last column is the"
        " balanced accuracy."
    )
    asked = [(item.meta.get("bins") or {}).get("asks") or "any" for item in items]
    forms = [
        item.question_type if item.question_type != NOT_OBSERVED else f"{NOT_OBSERVED}: {kind}"
        for item, kind in zip(items, asked)
    ]
    order = (*(f"{NOT_OBSERVED}: {kind}" for kind in QUESTION_TYPES), *QUESTION_TYPES)
    return [
        task_table("Refusals", METRICS, answerable, scores, order=("not answerable", "answerable"), note=note),
        task_table("By question", METRICS, forms, scores, order=order),
    ]
