"""What a run gave: counts, tables and the worst cases."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isinf, isnan
from typing import Any

from .reading import Reading
from .suites import Item
from .tables import Table

WORST = 12  # cases that are shown


@dataclass(frozen=True)
class Case:
    """One answer and what it was worth."""

    item: Item
    prediction: Any
    reading: Reading
    score: dict[str, float]


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        suite, title: of the benchmark. data, answers: names of what was asked, and of who answered.
        main: the metric that decides.
        counts: questions, answered, missing (no prediction), failed, unreadable, refused.
        problems: why answers were unreadable or failed -> how many.
        tables: the main one first. worst: of each question type in turn, at most WORST.
        notes: what a reader should know.
    """

    suite: str
    title: str
    data: str
    answers: str
    main: str
    counts: dict[str, int]
    problems: dict[str, int]
    tables: list[Table]
    worst: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """As JSON values; predictions of the worst cases as they came."""
        worst = [
            {
                "id": case.item.id,
                "question_type": case.item.question_type,
                "question": case.item.question,
                "expected": list(case.item.answers),
                "prediction": json.loads(json.dumps(case.prediction, default=str), parse_constant=str),
                "problem": case.reading.problem,
                "score": {name: None if isinf(v) or isnan(v) else v for name, v in case.score.items()},
            }
            for case in self.worst
        ]
        names = ("suite", "title", "data", "answers", "main", "counts", "problems", "notes")
        shown = {name: getattr(self, name) for name in names}
        return shown | {"tables": [table.values() for table in self.tables], "worst": worst}


def worst(cases: Iterable[Case], main: str) -> list[Case]:
    """Those furthest from the truth, of each question type in turn; what could be read comes first."""
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        if case.score[main] < 1:
            kinds.setdefault(case.item.question_type, []).append(case)

    def badness(case: Case) -> tuple[Any, ...]:
        error = case.score["error"]
        return bool(case.reading.problem), case.score[main], isinf(error), -error, case.item.id

    turns = zip_longest(*(sorted(kinds[kind], key=badness)[:WORST] for kind in sorted(kinds)))
    return [case for turn in turns for case in turn if case is not None][:WORST]
