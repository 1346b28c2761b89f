"""A data set on the disk: an episode is there whole or not at all, and all that is told of many follows from those.

Each episode has files of its own, of which the row in ``meta/episodes`` comes last: with it the episode is there. Files
of an episode without a row are removed. Tasks, statistics and at last ``meta/info.json`` are made of all rows at the
end of a run; where that was killed, the next one finds fewer episodes in ``meta/info.json`` than rows, and makes them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recordings.errors import BagError, writing
from ..versions import install
from . import features as f
from .progress import metadata, progress
from .stats import Stats, merged, of_rows

SOURCE = "source/"
PANDAS = {"index_columns": ["task"], "column_indexes": [], "pandas_version": "2.0.0"}
STATS = "stats/"


@dataclass(frozen=True)
class Origin:
    """Where an episode comes from.

    Attributes:
        recording: name of its file. digest: what tells that from all others. part: number among its episodes.
        settings: what tells the map and all that the rewards depend on from others.
        until_ns: the recording is used up to here.
        target: whose rewards they are; empty where there are none.
        way: metres from its start to its goal; 0: not known.
    """

    recording: str
    digest: str
    part: int
    settings: str
    until_ns: int
    target: str = ""
    way: float = 0.0


@dataclass(frozen=True)
class Episode:
    """What is written of an episode.

    Attributes:
        columns: name -> [N] or [N, D], of all features but videos and those that are made here; others do not count.
        tasks: of each frame. videos: feature -> the finished file, which is moved. stats: of these.
    """

    origin: Origin
    columns: Mapping[str, NDArray]
    tasks: list[str]
    videos: Mapping[str, Path]
    stats: Mapping[str, Stats]


class DataSet:
    """A LeRobot data set that episodes are added to; a new one where nothing is at ``path``.

    Args:
        beside: a folder on the same disk for files that are not finished.

    Raises:
        BagError: pyarrow is not installed, or something else is at ``path``.
    """

    def __init__(self, path: Path, beside: Path):
        self._pa, self._pq = _pyarrow()
        self.path, self._beside = path, beside
        self._rows: list[dict[str, Any]] = []
        self._known: dict[tuple[str, int], dict[str, Any]] = {}  # by digest and part
        self._tasks: dict[str, int] = {}  # number of each, in the order in which they came
        self._frames = 0
        self._told = 0  # rows that meta/info.json, and what comes before it, tells of
        self._features: f.Features = {}
        self._fps, self._robot = 0, ""
        if path.exists():
            self._load()

    @property
    def fps(self) -> int:
        """Of the episodes that are there; 0 where there are none."""
        return self._fps

    @property
    def features(self) -> f.Features:
        return self._features

    @property
    def lengths(self) -> list[int]:
        return [row["length"] for row in self._rows]

    def begin(self, features: f.Features, fps: int, robot: str) -> None:
        """Episodes will have these features. Raises BagError where those that are there have others."""
        features = features | f.automatic()
        if self._features:
            f.require_same(self._features, self._fps, features, fps, str(self.path))
        self._features, self._fps, self._robot = features, fps, robot or self._robot
        with writing(self.path):
            self._drop_unfinished()  # of a run that was killed
            if not self._rows:
                self._write_info()

    def find(self, origin: Origin) -> int | None:
        """``until_ns`` of the episode of this origin, or None where it is not there.

        Raises:
            BagError: it is there, made with other settings.
        """
        if (row := self._known.get((origin.digest, origin.part))) is None:
            return None
        if row[f"{SOURCE}settings"] != origin.settings:
            said = f"{self.path} has episode {origin.part} of {origin.recording}, made with other settings"
            raise BagError(f"{said}: choose another folder, or remove this one")
        return row[f"{SOURCE}until_ns"]

    def add(self, episode: Episode) -> None:
        """Write an episode; it is there when this returns, and not at all where it raises.

        Raises:
            BagError: it cannot be written.
        """
        number, start = len(self._rows), self._frames
        length = len(episode.tasks)
        known, own = self._tasks, dict.fromkeys(episode.tasks)
        new = [task for task in own if task not in known]
        indices = {task: known[task] if task in known else len(known) + new.index(task) for task in own}
        frames = np.arange(length)
        columns = {
            **episode.columns,
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(length, number),
            "index": start + frames,
            "task_index": np.array([indices[task] for task in episode.tasks]),
        }
        columns = {name: column for name, column in columns.items() if name in self._features}
        stats = {name: of_rows(column) for name, column in columns.items()} | dict(episode.stats)
        at = {"chunk_index": number // f.FILES, "file_index": number % f.FILES}
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": list(indices),
            "length": length,
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            **{f"data/{name}": value for name, value in at.items()},
            **{f"meta/episodes/{name}": value for name, value in at.items()},
        }
        for key in f.videos(self._features):
            row |= {f"videos/{key}/{name}": value for name, value in at.items()}
            row |= {f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": length / self._fps}
        row |= {f"{SOURCE}{name}": value for name, value in vars(episode.origin).items()}
        row |= {f"{STATS}{key}/{name}": value.tolist() for key, found in stats.items() for name, value in found.items()}
        try:
            with writing(self.path):
                for key, made in episode.videos.items():
                    _moved(made, self._file(f"videos/{key}", number, ".mp4"))
                self._write(self._table(columns), "data", number)
                self._write(self._pa.Table.from_pylist([row]), "meta/episodes", number)
        except BaseException:
            with suppress(OSError):
                self._drop_unfinished()
            raise
        self._know(row)

    def finish(self) -> None:
        """Write what is told of all episodes, where there are new ones."""
        with writing(self.path):
            self._drop_unfinished()
            if len(self._rows) > self._told:
                self._write_progress()
                self._write_meta()

    def _know(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._known.setdefault((row[f"{SOURCE}digest"], row[f"{SOURCE}part"]), row)
        self._frames += row["length"]
        for task in row["tasks"]:
            self._tasks.setdefault(task, len(self._tasks))

    def _drop_unfinished(self) -> None:
        """Remove the files of an episode that is not there: readers take every file of data."""
        number = len(self._rows)
        self._file("meta/episodes", number, ".parquet").unlink(missing_ok=True)
        self._file("data", number, ".parquet").unlink(missing_ok=True)
        for folder in (self.path / "videos").glob("*"):
            self._file(f"videos/{folder.name}", number, ".mp4").unlink(missing_ok=True)

    def _write_progress(self) -> None:
        """``sarm_progress.parquet``, where there are rewards."""
        if f.REWARD in self._features:
            tables = []
            for number, row in enumerate(self._rows):
                wanted = ["index", "episode_index", "frame_index", f.REWARD, f.VALID]
                table = self._pq.read_table(self._file("data", number, ".parquet"), columns=wanted)
                gained, valid = (table[name].to_numpy() for name in wanted[3:])
                share = self._pa.array(progress(gained, valid, row[f"{SOURCE}way"]), self._pa.float32())
                tables.append(table.select(wanted[:3]).append_column("progress_sparse", share))
            told = [[row[f"{SOURCE}{name}"] for row in self._rows] for name in ("target", "way")]
            table = self._pa.concat_tables(tables).replace_schema_metadata(metadata(*told))
            self._write_table(table, self.path / "sarm_progress.parquet")

    def _load(self) -> None:
        try:
            info = json.loads((self.path / "meta/info.json").read_text("utf-8"))
            version, features, fps = info["codebase_version"], info["features"], info["fps"]
            files = sorted((self.path / "meta/episodes").glob("chunk-*/file-*.parquet"))
            rows = [row for file in files for row in self._pq.read_table(file).to_pylist()]
            self._told = int(info["total_episodes"])
            wrong = version != f.VERSION or not isinstance(features, dict) or len(rows) < self._told
        except FileNotFoundError:
            inside = Path(os.path.realpath(self.path)).rglob("*") if self.path.is_dir() else [self.path]
            if not any(file.is_file() and self._beside not in file.parents for file in inside):
                return
            raise BagError(f"{self.path} is there and is no LeRobot data set: choose another folder") from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BagError(f"{self.path} is no LeRobot data set that can be read: {error}") from None
        if wrong:
            raise BagError(f"{self.path} is a LeRobot data set {version}, expected {f.VERSION} with all its episodes")
        if any(f"{SOURCE}{one.name}" not in row for row in rows for one in fields(Origin)):
            raise BagError(
                f"{self.path} has episodes that were not made here: merge data sets with lerobot-edit-dataset"
            )
        for row in rows:
            self._require_files(row, features)
            self._know(row)
        if rows:  # of no episodes there is nothing to keep to
            self._features, self._fps, self._robot = features, fps, info.get("robot_type") or ""

    def _require_files(self, row: Mapping[str, Any], features: f.Features) -> None:
        """Raises BagError where an episode lacks a file of its own, as after a crash of the machine."""
        number = len(self._rows)
        if row["episode_index"] != number:
            raise BagError(f"{self.path} has no episode {number} in meta/episodes: make it anew in another folder")
        videos = [self._file(f"videos/{key}", number, ".mp4") for key in f.videos(features)]
        for file in (self._file("data", number, ".parquet"), *videos):
            with suppress(OSError):
                if file.stat().st_size:
                    continue
            raise BagError(
                f"{file} of episode {number} is not there, or empty: put it back, or make the data set anew in another"
                " folder"
            )

    def _write_meta(self) -> None:
        tasks = self._tasks
        table = self._pa.table({"task_index": self._pa.array(tasks.values(), self._pa.int64()), "task": list(tasks)})
        names = [{"name": n, "field_name": n, "pandas_type": k, "numpy_type": t, "metadata": None} for n, k, t in (
            ("task_index", "int64", "int64"), ("task", "unicode", "object"))]  # fmt: skip
        said = {"pandas": json.dumps(PANDAS | {"columns": names})}
        self._write_table(table.replace_schema_metadata(said), self.path / "meta/tasks.parquet")
        keys = dict.fromkeys(name.split("/")[1] for name in self._rows[0] if name.startswith(STATS))
        stats = {key: merged(self._stats(key)) for key in keys}
        plain = {key: {name: value.tolist() for name, value in found.items()} for key, found in stats.items()}
        self._write_json(plain, "meta/stats.json")
        self._write_info()

    def _stats(self, key: str) -> list[Stats]:
        """Of each episode."""
        prefix = f"{STATS}{key}/"
        names = [name for name in self._rows[0] if name.startswith(prefix)]
        columns = [np.array([row[name] for row in self._rows]) for name in names]
        return [dict(zip([name.removeprefix(prefix) for name in names], values)) for values in zip(*columns)]

    def _write_info(self) -> None:
        self._told = len(self._rows)
        counts = self._told, self._frames, len(self._tasks)
        self._write_json(f.info(self._features, self._fps, self._robot, *counts), "meta/info.json")

    def _write_json(self, values: Mapping[str, Any], name: str) -> None:
        made = self._beside / "values.json"
        made.write_text(json.dumps(values, indent=4) + "\n", "utf-8")
        _moved(made, self.path / name)

    def _table(self, columns: Mapping[str, NDArray]) -> Any:
        arrays, names = [], [name for name, feature in self._features.items() if feature["dtype"] != "video"]
        for name in names:
            feature = self._features[name]
            kind = self._pa.bool_() if feature["dtype"] == "bool" else getattr(self._pa, feature["dtype"])()
            flat = self._pa.array(np.asarray(columns[name]).ravel(), kind)
            width = feature["shape"][0]
            arrays.append(flat if width == 1 else self._pa.FixedSizeListArray.from_arrays(flat, width))
        return self._pa.table(arrays, names=names)

    def _file(self, kind: str, number: int, suffix: str) -> Path:
        return self.path / kind / f"chunk-{number // f.FILES:03d}" / f"file-{number % f.FILES:03d}{suffix}"

    def _write(self, table: Any, kind: str, number: int) -> None:
        self._write_table(table, self._file(kind, number, ".parquet"))

    def _write_table(self, table: Any, path: Path) -> None:
        made = self._beside / "table.parquet"
        self._pq.write_table(table, made, compression="snappy")
        _moved(made, path)


def _moved(made: Path, path: Path) -> None:
    """Put a finished file in its place, on the disk before anything that comes after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _synced(made)
    os.replace(made, path)
    _synced(path.parent)


def _synced(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pyarrow() -> tuple[Any, Any]:
    with suppress(ImportError):
        import pyarrow
        import pyarrow.parquet

        return pyarrow, pyarrow.parquet
    raise BagError(f"a LeRobot data set needs another library: {install('pyarrow')}, or the extra lerobot")


def cleared(folder: Path) -> Path:
    """An empty folder for what is not finished."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
