"""Answers that survive being killed: each is a line of a file as soon as it is there."""

import fcntl
import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..multispa.item import bad

NAME = "answers.jsonl"
Record = dict[str, Any]


class Journal(AbstractContextManager["Journal"]):
    """The answers of one run, in ``answers.jsonl`` of its folder.

    The first line says whose answers to what they are. A line that is damaged or was not finished does not count, nor
    one whose question has changed since.

    Args:
        folder: made where it does not exist. run: what tells this run from others, as JSON values.
        resume: go on with what is there; else it is given up.

    Attributes:
        known: answers by (id, digest of the question).

    Raises:
        SpatialError: another process writes there, or the answers there are those of another run.
    """

    def __init__(self, folder: Path, run: dict[str, str], resume: bool = True):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / NAME).open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise bad(f"another process is writing {folder / NAME}") from None
        try:
            self.known = self._load(folder, run) if resume else {}
        except BaseException:
            self._file.close()
            raise
        if not self.known:
            self._file.truncate(0)
            self._write(run)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record, prediction: Any) -> None:
        """One more answer, on disk when this returns. Raises OSError."""
        self._write({"id": record["id"], "asked": digest(record), "prediction": prediction})
        self.known[record["id"], digest(record)] = prediction

    def _write(self, values: Any) -> None:
        self._file.write(json.dumps(values, default=str).encode() + b"\n")
        self._file.flush()

    def _load(self, folder: Path, run: dict[str, str]) -> dict[tuple[str, str], Any]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        first, *lines = map(_values, content[:whole].splitlines() or [content])
        if not whole and (first is None or first == run):
            return {}
        if first is None or first.keys() != run.keys():
            raise bad(f"{folder / NAME} is no journal of answers: give another folder, or --anew to give it up")
        self._file.truncate(whole)
        if changed := [f"{name} '{first[name]}', not '{run[name]}'" for name in run if first[name] != run[name]]:
            raise bad(f"{folder} holds answers of {', '.join(changed)}: give another folder, or --anew to give them up")
        fields = {"id", "asked", "prediction"}
        return {(v["id"], v["asked"]): v["prediction"] for v in lines if v is not None and v.keys() >= fields}


def digest(record: Record) -> str:
    """What a record asks: another one for another question, other images or other options."""
    asked = [record["question_type"], record["images"], record["conversations"][0], record["meta"].get("options")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _values(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
