"""A run of a few steps, in this process or in others."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import yaml

from spatial_mllm_training.runs.recipe import make_recipe
from spatial_mllm_training.sft.recipe import SftRecipe

ROOT = Path(__file__).parents[3]
SECONDS = 100  # that other processes may take

SCRIPT = """
import os, signal, sys
from transformers import TrainerCallback
from spatial_mllm_training.runs.recipe import load_recipe
from spatial_mllm_training.sft import train
from spatial_mllm_training.sft.recipe import SftRecipe

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

watched = train.callbacks
train.callbacks = lambda *args: [*watched(*args), Kill()]
train.train_sft(load_recipe(sys.argv[1], SftRecipe), sys.argv[2])
"""


def values(tiny: Path, questions: Path, **more) -> dict:
    """A recipe of 4 steps of 2 samples."""
    given = {"model": str(tiny), "data": [{"path": str(questions)}], "device": "cpu", "steps": 4, "batch": 2}
    given |= {"learning_rate": 1e-3, "warmup": 0.0, "weight_decay": 0.1, "log_every": 1, "checkpoint_every": 100}
    return given | more


def recipe(tiny: Path, questions: Path, **more) -> SftRecipe:
    return make_recipe(values(tiny, questions, **more), SftRecipe)


def curve(out: Path, name: str = "loss") -> list[float]:
    """One column of a run's curves, in the order of steps."""
    with (out / "curves.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def run_apart(given: dict, out: Path, *launcher: str, kill_at: int = 0) -> int:
    """Trains in other processes, which end themselves at a step; returns the exit code."""
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(given))
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    return run_script(script, str(file), str(out), str(kill_at), launcher=launcher)


def run_script(script: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> int:
    """Runs a program on one thread, and says what went wrong; returns the exit code."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "training"), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *launcher, str(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode not in (0, -9):
        print(done.stderr[-5000:])
    return done.returncode
