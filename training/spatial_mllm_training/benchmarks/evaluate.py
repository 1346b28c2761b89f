"""Answers to a benchmark scored: a resumable run, tables with intervals, and the worst cases."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from spatial_mllm_ros.cli.terminal import track
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.files import write_whole

from ..multispa.item import bad
from ..multispa.manifest import JOINED
from ..multispa.scene import SceneRef
from .baselines import baseline
from .journal import Journal, Record, digest
from .page import render
from .result import Case, Result, worst
from .suites import Item, Suite, find_suite, multispa

Answers = Mapping[str, Any] | Callable[[Record], Any] | str
"""Predictions by id, a function from a record to its answer, or the name of a baseline."""

LEARNING = ("chance", "majority")  # they answer at once, and otherwise where there is more to learn from: never resumed
GIVE_UP = 20  # failures in a row without any answer before


def evaluate(
    suite: str,
    data: Path,
    answers: Answers,
    out: Path,
    *,
    limit: int | None = None,
    resume: bool = True,
    name: str = "",
    settings: str = "",
    compare: Sequence[str] = (),
    refs: Sequence[SceneRef] = (),
) -> Result:
    """Score answers to a benchmark and write ``result.json`` and ``result.html``.

    Args:
        suite: one of ``suites.SUITES``. data: the folder that its authors publish.
        answers: a function is asked record by record, its answers kept in ``out/answers.jsonl``; a run that was killed
            goes on there. A record that it raises SpatialError, OSError or ValueError for counts as wrong, and is asked
            again by the next run. A prediction that is missing counts as wrong.
        limit: only so many questions, the first ones.
        resume: go on with answers in ``out``; else they are given up.
        name: of who answers, as it is shown. settings: what else its answers depend on. Answers of another name or
            other settings are not gone on with.
        compare: names of baselines that get a column in every table. They learn from the training split where one lies
            beside the questions, else from the questions themselves.
        refs: scenes that the baseline ``geometry`` may open.

    Raises:
        SpatialError: data or predictions are not as expected, ``out`` holds another run, or every record fails.
    """
    known = find_suite(suite)
    items = load(known, data, limit)
    learn = _to_learn_from(known, data, items) if compare or isinstance(answers, str) else []
    who = name or (answers if isinstance(answers, str) else "predictions" if isinstance(answers, Mapping) else "model")
    notes, failed = [], {}
    if isinstance(answers, Mapping):
        said = {item.id: answers[item.id] for item in items if item.id in answers}
        if strange := len(answers.keys() - {item.id for item in items}):
            notes.append(f"Predictions about none of these questions: {strange:,}.")
    else:
        answer = baseline(answers, learn, refs) if isinstance(answers, str) else answers
        if answers in LEARNING:
            said, failed = ask(items, answer)
        else:
            with Journal(out, {"suite": suite, "answers": who, "settings": settings}, resume) as journal:
                said, failed = ask(items, answer, journal)
    result = score(known, suite, items, said, failed, who, data.resolve().name, notes)
    for other in compare:
        _compare(result, known, items, other, refs, learn)
    write(result, out)
    return result


def load(suite: Suite, data: Path, limit: int | None = None) -> list[Item]:
    """Its questions. Raises SpatialError: there is no data, none in it, or an id twice."""
    if limit is not None and limit < 1:
        raise bad(f"limit {limit}: expected at least 1")
    if not data.exists():
        raise bad(f"{data} does not exist")
    items = list(islice(suite.load(data), limit))
    if not items:
        raise bad(f"{data} has no questions")
    if (most := Counter(item.id for item in items).most_common(1)[0])[1] > 1:
        raise bad(f"{data}: id '{most[0]}' is there {most[1]} times")
    return items


def _to_learn_from(suite: Suite, data: Path, items: Sequence[Item]) -> list[Record]:
    """Records of the training split where one lies beside questions of ``multispa generate``, then the questions."""
    beside = (data if data.is_dir() else data.parent) / JOINED[0]
    made_here = suite.load is multispa.load and beside.is_file() and beside.stat().st_size
    return [item.record() for item in (*(suite.load(beside) if made_here else ()), *items)]


def ask(
    items: Sequence[Item], answer: Callable[[Record], Any], journal: Journal | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """(answers, why there is none) by id. Raises SpatialError where the first GIVE_UP records all fail."""
    said: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for item in track(items, "asking", len(items)):
        record = item.record()
        if journal is not None and (key := (record["id"], digest(record))) in journal.known:
            said[item.id] = journal.known[key]
            continue
        try:
            said[item.id] = answer(record)
        except (SpatialError, OSError, ValueError) as error:
            failed[item.id] = " ".join(str(error).split())
            hopeless = isinstance(error, SpatialError) and error.code == ErrorCode.MODEL_NOT_READY
            if hopeless or (not said and len(failed) == min(GIVE_UP, len(items))):
                raise
        else:
            if journal is not None:
                journal.add(record, said[item.id])
    return said, failed


def score(
    suite: Suite,
    name: str,
    items: Sequence[Item],
    said: Mapping[str, Any],
    failed: Mapping[str, str],
    who: str,
    data: str,
    notes: list[str],
) -> Result:
    """Every answer scored; what is missing is an empty one."""
    predictions = [said.get(item.id) for item in items]
    readings = [item.read(prediction) for item, prediction in zip(items, predictions)]
    scores = [suite.score(item, prediction) for item, prediction in zip(items, predictions)]
    here = [(item, reading) for item, reading in zip(items, readings) if item.id in said]
    problems = Counter(reading.problem for _, reading in here if reading.problem)
    counts = {
        "questions": len(items),
        "answered": len(here),
        "missing": len(items) - len(here) - len(failed),
        "failed": len(failed),
        "unreadable": problems.total(),
        "refused": sum(reading.refused for _, reading in here),
    }
    if counts["missing"]:
        notes.append(f"Questions without a prediction, which count as wrong: {counts['missing']:,}.")
    if failed:
        why = next(iter(failed.values()))
        notes.append(f"Questions that could not be asked, and count as wrong: {len(failed):,}. The first: {why}")
    cases = [Case(*case) for case in zip(items, predictions, readings, scores)]
    tables = suite.tables(items, predictions, scores)
    why = dict((problems + Counter(failed.values())).most_common(20))
    return Result(name, suite.TITLE, data, who, suite.MAIN, counts, why, tables, worst(cases, suite.MAIN), notes)


def _compare(
    result: Result, suite: Suite, items: list[Item], name: str, refs: Sequence[SceneRef], learn: Sequence[Record]
) -> None:
    """Add a baseline's column to every table, or say why there is none."""
    try:
        said, failed = ask(items, baseline(name, learn, refs))
    except SpatialError as error:
        result.notes.append(f"No baseline '{name}': {error}")
        return
    if failed:
        why = next(iter(failed.values()))
        result.notes.append(f"Questions without an answer of baseline '{name}': {len(failed):,}. The first: {why}")
    predictions = [said.get(item.id) for item in items]
    scores = [suite.score(item, prediction) for item, prediction in zip(items, predictions)]
    others = suite.tables(items, predictions, scores)
    result.tables[:] = [table.compared(name, other, suite.MAIN) for table, other in zip(result.tables, others)]


def write(result: Result, out: Path) -> None:
    """``result.json`` and ``result.html`` in a folder. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "result.json", json.dumps(result.values(), indent=1, default=str) + "\n")
    write_whole(out / "result.html", render(result))
