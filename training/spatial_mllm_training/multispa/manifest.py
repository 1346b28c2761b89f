"""What a run was asked for and how far it came, in one file beside its output, so that a killed run goes on."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from spatial_mllm_ros.files import left_behind, write_whole

from .item import QUESTION_TYPES, bad

NAME = "manifest.json"
FOLDERS = ("candidates", "images", "annotations/train", "annotations/test")
JOINED = ("train.jsonl", "test.jsonl")
OUTPUT = (*dict.fromkeys(folder.split("/")[0] for folder in FOLDERS), *JOINED)
FORMAT = 1
FORMATS = ("jsonl", "parquet", "both")
PATIENCE = 30.0  # s, for workers of a killed run to end
WRITING_SHARE = 0.02  # of the time may go into writing the manifest

State = dict[str, Any]


@dataclass(frozen=True)
class GenerateOptions:
    """What is made, and how.

    Attributes:
        per_task: questions of each type, of all scenes and both splits together.
        seed: another one asks other questions of the same scenes.
        types: question types to make.
        test_share: share of the scenes that are kept for testing, 0 to 1.
        not_observed: share of all questions that the images do not answer, 0 to below 1.
        format: ``jsonl``, ``parquet`` or ``both``.
        runner: ``pool`` (processes of this machine), ``ray`` or ``inline`` (this process).
        workers: scenes worked on at a time; 0 is one for each core.
        overwrite: give up what another run left in the folder. What is no output of a run is never removed.

    Raises:
        SpatialError: a value is out of its range.
    """

    per_task: int = 1000
    seed: int = 0
    types: tuple[str, ...] = QUESTION_TYPES
    test_share: float = 0.1
    not_observed: float = 0.1
    format: str = "jsonl"
    runner: str = "pool"
    workers: int = 0
    overwrite: bool = False

    def __post_init__(self):
        if self.per_task < 1:
            raise bad(f"{self.per_task} questions per task: expected at least 1")
        if unknown := set(self.types) - set(QUESTION_TYPES):
            raise bad(f"unknown question type {', '.join(sorted(unknown))}: there are {', '.join(QUESTION_TYPES)}")
        if not self.types:
            raise bad("no question types are asked for")
        if not 0 <= self.test_share <= 1:
            raise bad(f"test share {self.test_share}: expected 0 to 1")
        if not 0 <= self.not_observed < 1:
            raise bad(f"share of not observed {self.not_observed}: expected 0 to below 1")
        if self.format not in FORMATS:
            raise bad(f"format '{self.format}': expected {', '.join(FORMATS)}")
        if self.workers < 0:
            raise bad(f"{self.workers} workers: expected at least 1, or 0 for one for each core")

    def content(self) -> State:
        """What decides the content of the output, as JSON values."""
        names = ("per_task", "seed", "test_share", "not_observed", "format")
        return {name: getattr(self, name) for name in names} | {"types": sorted(set(self.types))}


class Manifest(AbstractContextManager["Manifest"]):
    """The state of one output folder, which no other process works on meanwhile.

    Args:
        out: made where it does not exist.
        scenes: names of all shards of this run.

    Attributes:
        shards: name -> state of each phase that is finished: ``proposed``, ``written``, and ``split``.

    Raises:
        SpatialError: another process works on this folder, or what it holds came from other options, scenes or
            versions.
    """

    def __init__(self, out: Path, options: GenerateOptions, scenes: list[str]):
        self.out = out
        self._head = {"format": FORMAT, "versions": _versions(), "options": options.content(), "scenes": scenes}
        self._written, self._cost = 0.0, 0.0
        out.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(out, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise bad(f"another process is writing {out}") from None
        try:
            self._wait_for_workers()
            self.shards: dict[str, State] = self._load(options.overwrite)
            self._sweep()
            self.save()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._lock)

    def finished(self, shard: str, phase: str) -> State | None:
        """What a phase of an earlier run gave, where its files are still what they were."""
        state = self.shards.get(shard, {}).get(phase)
        if state is None or "error" in state:
            return None
        return state if all(digest(self.out / name) == sha for name, sha in state["files"].items()) else None

    def add(self, shard: str, phase: str, state: State) -> None:
        """One more phase of a shard is finished; written to disk now, or with one of the next."""
        self.shards.setdefault(shard, {})[phase] = state
        if perf_counter() - self._written > self._cost / WRITING_SHARE:
            self.save()

    def save(self, **more: Any) -> None:
        """Replace the file at once. Raises OSError."""
        start = perf_counter()
        content = self._head | more | {"shards": self.shards}
        write_whole(self.out / NAME, json.dumps(content, indent=1, sort_keys=True) + "\n")
        self._written = perf_counter()
        self._cost = self._written - start

    def keep(self, files: set[str]) -> None:
        """Remove what earlier runs wrote and no shard has any more: of a scene that can no longer be read, say."""
        for folder in FOLDERS:
            for path in (self.out / folder).iterdir():
                if path.relative_to(self.out).as_posix() not in files:
                    _remove(path)

    def _load(self, overwrite: bool) -> dict[str, State]:
        try:
            found = json.loads((self.out / NAME).read_text())
            changed = [name for name in self._head if found.get(name) != self._head[name]]
            shards = found["shards"]
        except FileNotFoundError:
            changed, shards = ["folder"] if any(self.out.iterdir()) else [], {}
            if changed and not overwrite:
                raise bad(f"{self.out} holds other files: give a new or an empty folder") from None
            if taken := [name for name in OUTPUT if _holds_files(self.out / name)]:
                raise bad(f"{self.out} holds {', '.join(taken)} of something else: give another folder") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            found, changed, shards = {}, ["manifest"], {}
        if not changed:
            return shards
        if not overwrite:
            if "options" in changed and isinstance(before := found.get("options"), dict):
                now = self._head["options"]
                changed = [
                    f"{name} {before.get(name)}, not {now[name]}" for name in now if before.get(name) != now[name]
                ]
                raise bad(f"{self.out} was made with {'; '.join(changed)}: use those, another folder, or --overwrite")
            what = {"manifest": "a damaged manifest", "scenes": "other scenes"}.get(changed[0], f"another {changed[0]}")
            raise bad(f"{self.out} was made with {what}: give another folder, or --overwrite")
        for name in OUTPUT:
            if (self.out / name).exists():
                _remove(self.out / name)
        (self.out / NAME).unlink(missing_ok=True)  # last: without it, the rest would be of something else
        return {}

    def _wait_for_workers(self) -> None:
        """Those of a run that was killed end by themselves, a moment after it; until then they may write."""
        try:
            folder = os.open(self.out / FOLDERS[0], os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            deadline = monotonic() + PATIENCE
            while True:
                try:
                    return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if monotonic() > deadline:
                        raise bad(f"workers of an earlier run are still writing {self.out}: end them first") from None
                    sleep(0.01)
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        """Remove what a killed run had begun."""
        begun = [file for name in (NAME, *JOINED) for file in left_behind(self.out / name)]
        for folder in FOLDERS:
            (self.out / folder).mkdir(parents=True, exist_ok=True)
            begun += (self.out / folder).glob(".*")
        for path in begun:
            _remove(path)


@contextmanager
def working(out: Path) -> Iterator[None]:
    """Held by a worker while it writes to the folder, so that the next run waits for it where this one is killed."""
    folder = os.open(out / FOLDERS[0], os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


def digest(file: Path) -> str:
    """SHA-256 of a file, or of the names and sizes of the files in a folder; empty where there is none."""
    if file.is_dir():
        listing = sorted(f"{entry.name} {entry.stat().st_size}" for entry in file.iterdir())
        return hashlib.sha256("\n".join(listing).encode()).hexdigest()
    try:
        with file.open("rb") as data:
            sha = hashlib.sha256()
            while part := data.read(1 << 20):
                sha.update(part)
            return sha.hexdigest()
    except FileNotFoundError:
        return ""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _holds_files(path: Path) -> bool:
    return path.is_file() or any(not below.is_dir() for below in path.rglob("*"))


def _versions() -> dict[str, str]:
    """Of the libraries whose output is written."""
    return {"numpy": np.__version__, "opencv": cv2.__version__, "pyarrow": pa.__version__}
