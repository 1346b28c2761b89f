"""What is in a generated folder: questions of each type, their answers, what balance changed, and what was left out."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from math import floor, hypot, log10
from pathlib import Path
from typing import Any

from spatial_mllm_ros.errors import SpatialError

from .item import QUESTION_TYPES, bad

Histograms = dict[str, dict[str, dict[str, int]]]
PARTS, META = {"id", "question_type", "images", "conversations", "gt_value", "meta"}, {"scene", "split"}
THIRDS = (("upper", "middle", "lower"), ("left", "centre", "right"))
LONGEST = 40  # characters of an answer that is counted
SHOWN = 6  # answers in a row of the table


@dataclass(frozen=True)
class Statistics:
    """Counts of a generated folder.

    Attributes:
        records: question type -> split -> records.
        before, after: question type -> histogram -> bin -> candidates before balance, records after it.
        answers: question type -> answer -> records. Numbers are grouped by their first digit (``300``: 300 to below
            400; a vector by its length), pixels by the ninth of the image that they are in.
        candidates: question type -> questions that could have been asked. scenes: scene -> records.
        skipped: scene -> why nothing, or not everything, was asked of it.
        faults: what went wrong with single frames and questions -> how often. dropped: why frames were not used ->
            how many. finished: the run that writes the folder came to its end; else this is what there is so far.
    """

    records: dict[str, dict[str, int]] = field(default_factory=dict)
    before: Histograms = field(default_factory=dict)
    after: Histograms = field(default_factory=dict)
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    candidates: dict[str, int] = field(default_factory=dict)
    scenes: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    finished: bool = True

    @property
    def splits(self) -> list[str]:
        """Those that have records, train first."""
        return sorted({split for counts in self.records.values() for split in counts}, key=lambda s: (s != "train", s))

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.records.values())

    @property
    def reasons(self) -> dict[str, int]:
        """Why scenes were skipped -> how many, the most frequent first."""
        return dict(sorted(Counter(self.skipped.values()).items(), key=lambda item: (-item[1], item[0])))

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "total": self.total, "reasons": self.reasons}

    def columns(self) -> tuple[str, ...]:
        return ("question type", *self.splits, "candidates", "answers")

    def rows(self) -> Iterator[tuple[str, ...]]:
        """A row for each question type and one for all, as text under :meth:`columns`."""
        for kind in in_order(self.records.keys() | self.candidates.keys()):
            counts = [self.records.get(kind, {}).get(split, 0) for split in self.splits]
            numbers = (f"{count:,}" for count in (*counts, self.candidates.get(kind, 0)))
            yield kind, *numbers, shares(self.answers.get(kind, {}))
        sums = [sum(counts.get(split, 0) for counts in self.records.values()) for split in self.splits]
        yield "all", *(f"{count:,}" for count in (*sums, sum(self.candidates.values()))), ""


def statistics(folder: Path) -> Statistics:
    """Count what a folder written by ``multispa generate`` holds; it is read once, record by record.

    Raises:
        SpatialError: it is not such a folder, or a file in it is damaged.
    """
    records: dict[str, Counter[str]] = defaultdict(Counter)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    after, scenes = tally(), Counter()
    run = what_happened(folder)
    for record in read_records(folder):
        kind, meta = record["question_type"], record["meta"]
        records[kind][meta["split"]] += 1
        answers[kind][answer_group(record["gt_value"], meta.get("output", ""))] += 1
        scenes[meta["scene"]] += 1
        add(after, kind, meta.get("bins", {}))
    before, candidates = tally(), Counter()
    for kind, bins in read_candidates(folder):
        candidates[kind] += 1
        add(before, kind, bins)
    return Statistics(
        records={kind: dict(records[kind]) for kind in in_order(records)},
        before=plain(before),
        after=plain(after),
        answers={kind: ordered(answers[kind]) for kind in in_order(answers)},
        scenes=dict(sorted(scenes.items())),
        candidates={kind: candidates[kind] for kind in in_order(candidates)},
        **run,
    )


def read_records(folder: Path, images: bool = False) -> Iterator[dict[str, Any]]:
    """All records of a folder, from its JSON lines or, where there are none, from Parquet.

    The images of the latter are dicts of ``path`` and ``bytes``, and left out unless ``images`` wants them.
    """
    lines = sorted(folder.glob("annotations/*/*.jsonl"))
    for path in lines:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    if not (record.keys() >= PARTS and record["meta"].keys() >= META):
                        raise ValueError
                except (ValueError, AttributeError):
                    raise damaged(folder, path, f"line {number} is not a record") from None
                yield record
    columns = sorted(PARTS) if images else sorted(PARTS - {"images"})
    for path in [] if lines else sorted(folder.glob("annotations/*/*.parquet")):
        for batch in parquet_batches(folder, path, columns):
            yield from (row | {name: json.loads(row[name]) for name in ("gt_value", "meta")} for row in batch)


def read_candidates(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(question type, bins) of everything that could have been asked; nothing where the table was not kept."""
    for path in sorted(folder.glob("candidates/*.parquet")):
        for batch in parquet_batches(folder, path, ["question_type", "bins"]):
            yield from ((row["question_type"], json.loads(row["bins"])) for row in batch)


def what_happened(folder: Path) -> dict[str, Any]:
    """``skipped``, ``faults``, ``dropped`` and ``finished`` of the statistics, from the manifest."""
    path = folder / "manifest.json"
    dropped = Counter()
    try:
        manifest = json.loads(path.read_text("utf-8"))
        for phases in manifest["shards"].values():
            dropped.update(phases.get("proposed", {}).get("dropped", {}))
        known = {name: dict(sorted(manifest.get(name, {}).items())) for name in ("skipped", "faults")}
    except FileNotFoundError:
        text = f"{folder} has no manifest.json: expected a folder that multispa generate has written"
        raise bad(text) from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise damaged(folder, path, "it does not say what was done") from None
    return {**known, "dropped": dict(sorted(dropped.items())), "finished": "skipped" in manifest}


def parquet_batches(folder: Path, path: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64 if "images" in columns else 4096, columns=columns):
                yield batch.to_pylist()
    except (pa.ArrowException, UnicodeError) as error:
        raise damaged(folder, path, str(error).splitlines()[0]) from None


def damaged(folder: Path, path: Path, what: str) -> SpatialError:
    return bad(f"{path.relative_to(folder)} is damaged, {what}; generate the folder again")


def answer_group(value: Any, output: str) -> str:
    """Under which name an answer is counted: see :class:`Statistics`."""
    if isinstance(value, str) and output == "pixel" and value.startswith("["):
        x, y = json.loads(value)
        row, column = (names[min(2, int(3 * at / 1000))] for names, at in zip(THIRDS, (y, x)))
        return f"{row} {column}"
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    size = hypot(*value) if isinstance(value, list) else abs(value)
    if size < 1:
        return "0"
    power = 10 ** floor(log10(size) + 1e-12)
    return str(int(size / power + 1e-9) * power)


def shares(counts: dict[str, int]) -> str:
    """The most frequent answers with their shares."""
    total = sum(counts.values())
    most = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name}: {count / total:.0%}" for name, count in most[:SHOWN])
    return text + (f" and {len(most) - SHOWN} more" if len(most) > SHOWN else "")


def tally() -> dict[str, dict[str, Counter[str]]]:
    return defaultdict(lambda: defaultdict(Counter))


def add(histograms: dict[str, dict[str, Counter[str]]], kind: str, bins: dict[str, Any]) -> None:
    for name, where in bins.items():
        histograms[kind][name][str(where)] += 1


def plain(histograms: dict[str, dict[str, Counter[str]]]) -> Histograms:
    return {
        kind: {name: ordered(counts) for name, counts in sorted(histograms[kind].items())}
        for kind in in_order(histograms)
    }


def in_order(kinds: Iterable[str]) -> list[str]:
    """Question types in the order in which they are listed everywhere; unknown ones last."""
    known = {kind: i for i, kind in enumerate(QUESTION_TYPES)}
    return sorted(kinds, key=lambda kind: (known.get(kind, len(known)), kind))


def ordered(counts: dict[str, int]) -> dict[str, int]:
    """By number where bins are numbers, these first, then by name."""
    return dict(sorted(counts.items(), key=lambda item: (number_of(item[0]) is None, number_of(item[0]) or 0, item[0])))


def number_of(name: str) -> float | None:
    return float(name) if re.fullmatch(r"-?\d+(\.\d+)?", name) else None
