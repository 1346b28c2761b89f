"""Every stage of nano, each a step or two long: from an empty folder to a model that answers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm import Question
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.calibration import read_calibration
from spatial_mllm_training.nano.make import STAGES, NanoRecipe, make_nano

pytest.importorskip("embreex", reason="rooms are rendered with it")

ROOM = "simulated:2000@160x120"
SHORT = ("log_every=1", "checkpoint_every=1", "warmup=0.0")
CHANGES = (
    *(f"{stage}.{change}" for stage in STAGES for change in SHORT),
    *(f"{stage}.scenes=[{ROOM}]" for stage in ("geometry", "words", "things")),
    *("geometry.steps=2", "geometry.batch=4", "geometry.dense_frames=1", "geometry.phases=[{share: 0.5, alone: true}]"),
    *("words.steps=1", "words.batch=2", "words.questions=3", "things.steps=1", "things.batch=2"),
    *("sft.steps=2", "sft.batch=2", "even.steps=1", "even.batch=2", "grpo.steps=1", "grpo.batch=4", "grpo.group=2"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps=3", "'steps=3': expected STAGE.FIELD=VALUE, the stage one of geometry, words, things, sft, even, grpo"),
        ("wordz.steps=5", "'wordz.steps=5': expected STAGE"),
        ("grpo.stepz=1", "unknown field 'stepz'"),
        ("words.phases=[{share: 0.5}]", "phases: questions are asked about images of one size"),
    ],
)
def test_changes_are_checked_before_anything_is_done(tmp_path, change, message):
    with pytest.raises(SpatialError, match=re.escape(message)):
        make_nano(NanoRecipe(changes=(change,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_is_made_and_made_only_once(tmp_path):
    recipe = NanoRecipe(ROOM, "simulated:2001@160x120", per_task=4, held_per_task=2, changes=CHANGES, workers=1)
    made = make_nano(recipe, tmp_path)
    weights = made / "model.safetensors"
    assert weights.stat().st_size <= 25e6
    assert (known := read_calibration(made)) is not None and known.reasoning is False
    states = {stage: json.loads((tmp_path / stage / "run.json").read_text())["state"] for stage in STAGES}
    assert set(states.values()) == {"finished"}
    frames = [np.full((120, 160, 3), value, np.uint8) for value in (0, 200)]
    answer = load_engine(made, device="cpu").ask(frames, Question("How far did the camera move, in millimetres?"))
    assert answer.frames == (0, 1) and answer.seconds_generate > 0  # after seven steps it need not say anything

    written = {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("*.safetensors")}
    assert make_nano(recipe, tmp_path) == made
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("*.safetensors")} == written
