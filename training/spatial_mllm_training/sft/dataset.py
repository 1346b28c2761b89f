"""Mixtures: which record of which data set is drawn next, the same for the same seed, whatever was drawn before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.config import param

from ..runs.recipe import RecipeError
from .records import Record, RecordFault, Records, content_hash, open_records


@dataclass(frozen=True)
class DataEntry:
    """One data set of a mixture; general data against forgetting is just another one."""

    path: str = param("", "on disk: folder of multispa generate, .jsonl, .json or .parquet, or Hugging Face data set")
    weight: float = param(
        0.0, "share of the draws, against that of others; 0 for all: their numbers of records", low=0.0, high=1e9
    )
    split: str = param("train", "of a folder that has several")
    types: list[str] = param([], "only these question types; none: all")  # noqa: RUF009
    limit: int = param(0, "only so many records, the first; 0: all", low=0, high=10**12)
    shown_as: str = param("", "as the recipe's, where it is given", choices=("", "clip", "written"))
    answers: str = param("", "as the recipe's, where it is given", choices=("", "short", "written"))


class Mixture:
    """Records of several data sets.

    Attributes:
        entries: their descriptions, in the order of ``source``.

    Raises:
        RecipeError: no data, or a data set that cannot be used.
    """

    def __init__(self, entries: Sequence[DataEntry]):
        if not entries:
            raise RecipeError("data = []: expected one or more of {path: ...}")
        if any(entry.weight for entry in entries) and not all(entry.weight for entry in entries):
            bare = next(entry.path for entry in entries if not entry.weight)
            raise RecipeError(f"data '{bare}' has no weight and another has: expected a weight for all, or for none")
        self.entries = list(entries)
        self._records: list[Records] = [open_records(entry.path, entry.split) for entry in entries]
        self._rows = [_rows(records, entry) for records, entry in zip(self._records, entries)]

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Records of each data set."""
        return [len(rows) for rows in self._rows]

    def read(self, source: int, row: int) -> Record:
        """One record, see ``records.normal``; with the entry's ways to show and answer, where it has some.

        Raises:
            RecordFault: it is no record.
        """
        entry = self.entries[source]
        record = self._records[source][int(self._rows[source][row])]
        return record | {name: getattr(entry, name) for name in ("shown_as", "answers") if getattr(entry, name)}

    def describe(self) -> dict[str, Any]:
        """Hash and count of each data set, by its path, for the run's folder."""
        return {
            f"{i}: {entry.path}": {"hash": content_hash(records.files), "records": len(rows)}
            for i, (entry, records, rows) in enumerate(zip(self.entries, self._records, self._rows))
        }

    def draws(self, count: int, seed: int) -> NDArray[np.int64]:
        """What is drawn, in order: [count, 2], source and row.

        The sources come at random by their weights; of one source every record comes once, in random order, before any
        comes again. The first n draws are the same for every count from n on.
        """
        weights = np.array([entry.weight or size for entry, size in zip(self.entries, self.sizes)], float)
        sources = np.random.default_rng([seed, 0]).choice(len(weights), count, p=weights / weights.sum())
        drawn = np.empty((count, 2), np.int64)
        for source, size in enumerate(self.sizes):
            places = np.flatnonzero(sources == source)
            drawn[places, 0] = source
            for turn, at in enumerate(range(0, len(places), size)):
                order = np.random.default_rng([seed, 1, source, turn]).permutation(size)
                drawn[places[at : at + size], 1] = order[: len(places) - at]
        return drawn

    def all(self) -> NDArray[np.int64]:
        """Every record once, in the order of the data: [n, 2], source and row."""
        return np.array([(source, row) for source, size in enumerate(self.sizes) for row in range(size)], np.int64)


def _rows(records: Records, entry: DataEntry) -> NDArray[np.int64]:
    """Indices of the records that an entry asks for. Raises RecipeError where there are none."""
    rows = np.arange(len(records))
    if entry.types:
        rows = np.array([row for row in rows if _type(records, int(row)) in entry.types], np.int64)
    if not len(rows):
        raise RecipeError(f"data '{entry.path}' has no records of {', '.join(entry.types)}")
    return rows[: entry.limit] if entry.limit else rows


def _type(records: Records, row: int) -> str:
    try:
        return records[row]["question_type"]
    except RecordFault:
        return ""
