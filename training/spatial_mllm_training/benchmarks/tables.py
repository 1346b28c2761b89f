"""Results as tables of names and estimates, for people and programs alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import Any

from .scoring import Estimate, estimate

Cell = Estimate | str | None
MICRO, MACRO = "all answers, micro", "mean of tasks, macro"


@dataclass(frozen=True)
class Row:
    """A line of a table: how many answers it rests on, and its cells in the order of the table's columns."""

    name: str
    n: int
    cells: list[Cell]
    total: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a title.

    Attributes:
        columns: name -> what it is. note: what a reader should know. Numbers are shown times 100.
        against: columns of baselines among them.
    """

    title: str
    columns: dict[str, str]
    rows: list[Row]
    note: str = ""
    against: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """As JSON values: numbers as they are, with null for NaN."""
        return {
            "title": self.title,
            "note": self.note,
            "columns": self.columns,
            "rows": [
                {"name": row.name, "n": row.n, **{c: cell_value(v) for c, v in zip(self.columns, row.cells)}}
                for row in self.rows
            ],
        }

    def compared(self, name: str, other: "Table", metric: str) -> "Table":
        """With a column of a baseline: the metric, or the first column, of its table of the same answers."""
        column = list(other.columns).index(metric) if metric in other.columns else 0
        found = {row.name: row.cells[column] for row in other.rows}
        rows = [replace(row, cells=[*row.cells, found.get(row.name)]) for row in self.rows]
        columns = self.columns | {name: f"{list(other.columns)[column]} of the baseline '{name}'"}
        return replace(self, columns=columns, rows=rows, against=(*self.against, name))


def cell_value(cell: Cell) -> Any:
    if not isinstance(cell, Estimate):
        return cell
    return {name: None if isnan(number) else number for name, number in asdict(cell).items()}


def task_table(
    title: str,
    metrics: Mapping[str, str],
    types: Sequence[str],
    scores: Sequence[Mapping[str, float]],
    merged: Callable[[str], str] = str,
    order: Iterable[str] = (),
    note: str = "",
) -> Table:
    """A row for each task, then the means over answers and over tasks.

    Args:
        types: question type of each answer; scores: its metrics, as shares.
        merged: name of the row that a type belongs to; a row's figure is the mean of its types' figures.
        order: names of rows in the order wanted; others follow by name.
    """
    parts: dict[str, dict[str, list[Mapping[str, float]]]] = {}
    for kind, score in zip(types, scores, strict=True):
        parts.setdefault(merged(kind), {}).setdefault(kind, []).append(score)
    wanted = list(order)
    names = sorted(parts, key=lambda name: (wanted.index(name) if name in wanted else len(wanted), name))
    rows = [
        Row(name, sum(map(len, parts[name].values())), [_mean(list(parts[name].values()), m) for m in metrics])
        for name in names
    ]
    if len(rows) > 1:
        rows.append(Row(MICRO, len(scores), [_mean([scores], m) for m in metrics], total=True))
        tasks = [list(parts[name].values()) for name in names]
        macro: list[Cell] = [estimate([[_of(part, m) for part in task] for task in tasks]) for m in metrics]
        rows.append(Row(MACRO, len(scores), macro, total=True))
    return Table(title, dict(metrics), rows, note)


def _of(scores: Iterable[Mapping[str, float]], metric: str) -> list[float]:
    return [score[metric] for score in scores if metric in score]


def _mean(parts: Sequence[Sequence[Mapping[str, float]]], metric: str) -> Cell:
    """Mean of the parts' means; None where the metric applies to no answer."""
    values = [found for part in parts if (found := _of(part, metric))]
    return estimate(values[0] if len(values) == 1 else values) if values else None
