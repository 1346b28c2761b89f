"""Whatever a model can be loaded with is a parameter of the node and an option of the command line."""

import inspect
import json
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from spatial_mllm_ros.cli import app
from spatial_mllm_ros.cli.options import LOAD
from spatial_mllm_ros.config import build, describe
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.process.remote import ModelProcess

OTHERS = {
    "adapter": "an/adapter",
    "device": "cuda:1",
    "dtype": "float16",
    "max_tokens": 7,
    "cache_megabytes": 3,
    "not_observed": 0.75,
    "encoders": "a/folder",
    "provider": "cuda",
    "compile": True,
}
"""Values that are not the defaults."""


class Engine:
    """Writes down what it is loaded with, in the folder that is its model, and is then no model."""

    def __init__(self, path: str, progress: Any = None, **options: Any):
        (Path(path) / "options.json").write_text(json.dumps(options))
        raise SpatialError(ErrorCode.BAD_REQUEST, "this is no model")


def loaded_with(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "options.json").read_text())


def test_all_are_parameters_of_the_node_and_no_value_above_is_a_default():
    defaults = {name: describe()[f"ask.{name}"]["default"] for name in LOAD}
    assert set(OTHERS) == set(LOAD) and not [name for name in LOAD if OTHERS[name] == defaults[name]]


def test_parameters_reach_the_engine_in_its_process(tmp_path):
    config = build({"ask.model": str(tmp_path)} | {f"ask.{name}": value for name, value in OTHERS.items()})
    failed = Event()
    log = SimpleNamespace(debug=print, info=print, warning=print, error=lambda text: failed.set())
    model = ModelProcess(config.ask, log, f"{__name__}:Engine")
    model.start()
    try:
        assert failed.wait(30)
    finally:
        model.close()
    assert loaded_with(tmp_path) == OTHERS


COMMANDS = {
    "ask": ["ask", ".", "What?"],
    "annotate": ["annotate", "in.mcap", "--out", "out.mcap", "--motion", "both"],
    "report": ["report", "in.mcap", "--out", "out.html", "--ask", "What?"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_gives_them_to_the_engine(call, tmp_path, monkeypatch, command):
    engine = pytest.importorskip("spatial_mllm_ros.mllm.answering.engine", reason="needs torch")
    assert set(LOAD) == set(inspect.signature(engine.load_engine).parameters) - {"path", "progress"}
    monkeypatch.setattr("spatial_mllm_ros.mllm.loading.load_engine", Engine)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("frame.png", np.zeros((48, 64, 3), np.uint8))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OTHERS.items() if name != "compile"]
    assert "this is no model" in call(*COMMANDS[command], "--model", ".", *options, "--compile", code=1).stderr
    assert loaded_with(tmp_path) == OTHERS


def test_a_command_that_only_sees_has_no_options_of_answers():
    commands: Any = typer.main.get_command(app)
    options = {option.name for option in commands.commands["sample"].params}
    assert options & set(LOAD) == {"device", "dtype", "compile", "encoders", "provider"}
