"""The folder of a run: what it was made from, where it stands, and the checkpoints it goes on from.

recipe.yaml    the recipe with every field      checkpoint-N/  weights, optimiser, random states; `whole` when done
versions.json  of Python and the libraries      curves.csv, curves.png, tensorboard/
data.json      hash and count of each data set  run.json       state, steps done, processes
"""

import fcntl
import json
import platform
import re
import shutil
from dataclasses import MISSING, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.files import write_whole

from .recipe import RunRecipe, recipe_yaml

PACKAGES = ("spatial_mllm_ros", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "numpy")
WHOLE = "whole"  # a file that is written into a checkpoint last
LOCK = ".lock"  # alone, it is of a run that was killed before it had begun
OURS = ("*.yaml", "*.json", "*.csv", "*.png", "tensorboard", "model", "adapter", "checkpoint-*")
"""What a run writes; --overwrite removes these and nothing else."""


class RunError(SpatialError):
    """A run that cannot be started or continued: why, and what would be right."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST):
        super().__init__(code, message)


class RunFolder:
    """The folder of one run, locked from ``open`` until it stops. Only the main process opens and writes it."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser().resolve()
        self._lock: Any = None

    def open(self, recipe: RunRecipe, data: dict[str, Any], processes: int = 1, overwrite: bool = False) -> None:
        """Begins a run here, or checks that it is the one to go on with; half-written checkpoints are removed.

        Args:
            data: what is trained on, as JSON values: hash and count of each data set.
            processes: that train together.
            overwrite: give up a run of another recipe, other data or another number of processes.
        Raises:
            RunError: the folder holds something else, or another process writes there.
        """
        begun = {"recipe.yaml": recipe_yaml(recipe), "data.json": _json(data)}
        held = any(p.name != LOCK for p in self.path.iterdir()) if self.path.is_dir() else self.path.exists()
        if held and not (self.path / "recipe.yaml").is_file():
            raise RunError(f"{self.path.name} is there and no run's folder: expected a new, an empty or a run's folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        if held and overwrite:
            for pattern in OURS:
                for old in self.path.glob(pattern):
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        elif held:
            try:
                self._check(recipe, data, processes)
            except RunError:
                self._lock.close()
                raise
        for half in set(self._checkpoints()) - set(self._checkpoints(whole=True)):
            shutil.rmtree(half)
        for name, text in {**begun, "versions.json": _json(versions())}.items():
            write_whole(self.path / name, text)
        if not self.finished:
            self.state("running", processes=processes)

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        return max(self._checkpoints(whole=True), key=_step, default=None)

    def keep(self, count: int) -> None:
        """Removes all but the newest checkpoints."""
        for old in sorted(self._checkpoints(whole=True), key=_step)[:-count]:
            (old / WHOLE).unlink()  # first: what is half removed is not whole
            shutil.rmtree(old)

    def mark(self, step: int) -> None:
        """Says that the checkpoint of a step is whole."""
        (self.path / f"checkpoint-{step}" / WHOLE).touch()

    def state(self, state: str, **more: Any) -> None:
        """Writes where the run stands into ``run.json``: running, finished, stopped; and why, and how far."""
        write_whole(self.path / "run.json", _json({**self._read("run.json"), "state": state, **more}))
        if state != "running" and self._lock:
            self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self._read("run.json").get("state") == "finished"

    @property
    def trained(self) -> Path:
        """What a finished run left: ``adapter`` or ``model``."""
        return next((p for p in (self.path / "adapter", self.path / "model") if p.is_dir()), self.path / "model")

    def _checkpoints(self, whole: bool = False) -> list[Path]:
        found = [p for p in self.path.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
        return [p for p in found if not whole or (p / WHOLE).is_file()]

    def _check(self, recipe: RunRecipe, data: dict[str, Any], processes: int) -> None:
        """Raises RunError where the run that is here is another one; fields that it did not know had their defaults."""
        old = {f.name: f.default for f in fields(recipe) if f.default is not MISSING}
        try:
            old |= dict(yaml.safe_load((self.path / "recipe.yaml").read_text("utf-8")))
        except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError):
            what = f"{self.path.name} holds a run whose recipe.yaml cannot be read"
            raise RunError(f"{what}: expected another folder, or --overwrite") from None
        wanted = yaml.safe_load(recipe_yaml(recipe)).items()
        other = [f"{name} {old.get(name)!r}, not {new!r}" for name, new in wanted if old.get(name) != new]
        known = self._read("data.json")
        if known != json.loads(_json(data)):
            other += [f"other data ({', '.join(k for k in {**data, **known} if known.get(k) != data.get(k)) or 'all'})"]
        if (before := self._read("run.json").get("processes", processes)) != processes:
            other += [f"{before} processes, not {processes}"]
        if other:
            text = f"{self.path.name} holds a run with {'; '.join(other)}: expected another folder, or --overwrite"
            raise RunError(text)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _take_lock(self) -> None:
        """Until the run stops or the process is gone."""
        self._lock = (self.path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is training in {self.path.name}", ErrorCode.BUSY) from None


def versions() -> dict[str, str]:
    """Of Python and of the libraries that training depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
