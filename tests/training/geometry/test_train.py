"""Runs of a few steps: exact resumption, what is refused, and views that are kept."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
from spatial_mllm_training.geometry import train
from spatial_mllm_training.geometry.clips import ClipBatches, Phase
from spatial_mllm_training.geometry.train import GeometryRecipe, on_device, train_geometry
from spatial_mllm_training.geometry.views import identity, make_views, open_views
from spatial_mllm_training.runs.recipe import RecipeError, make_recipe
from tests.closeness import assert_close

from ..scenes import room_scene
from ..stopping import stopped_after
from .boxes import SIZE, box_views


@dataclass(frozen=True)
class Walk:
    """The plain room of the tests of questions, as a scene that is kept in a file."""

    path: Path
    name: str = "room"
    source: str = "test"

    def open(self):
        return room_scene(8)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "open_scenes", lambda recipe, folder, overwrite: opened(recipe, folder, overwrite))

    def opened(recipe, folder, overwrite):
        folder.open(recipe, {"scenes": 1}, overwrite=overwrite)
        return [box_views()]

    model = make_untrained(tmp_path / "model")
    height, width = SIZE
    phases = [{"share": 0.5, "height": 28, "width": 28, "alone": True}]
    values = {"model": str(model), "height": height, "width": width, "phases": phases, "steps": 6, "batch": 4}
    values |= {"dense_frames": 1, "learning_rate": 1e-3, "log_every": 1, "checkpoint_every": 1, "device": "cpu"}
    return make_recipe(values, GeometryRecipe)


def losses(out):
    with open(out / "curves.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.mark.long
@pytest.mark.parametrize("steps", [2, 3, 5])  # within a phase, between two, within the second
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(recipe, tmp_path, monkeypatch, steps):
    whole = train_geometry(recipe, tmp_path / "whole")
    with stopped_after(steps, monkeypatch):
        train_geometry(recipe, tmp_path / "parts")
    parts = train_geometry(recipe, tmp_path / "parts")
    assert len(losses(tmp_path / "whole")) == 6
    assert_close(losses(tmp_path / "parts"), losses(tmp_path / "whole"))
    one, other = (dict(load_model(place)[0].named_parameters()) for place in (whole, parts))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    start = dict(load_model(recipe.model)[0].named_parameters())
    learned = {name for name in one if not torch.equal(one[name], start[name])}
    assert learned and all("spatial_encoder" in name for name in learned)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps = 0: expected how many batches"),
        ({"evaluate_every": 5}, "evaluate_every = 5: every batch is new: expected 0"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing = true: expected false"),
        ({"height": 100}, "images of 100 x 196: expected multiples of 14"),
        ({"phases": [{"width": 30}]}, "images of 140 x 30: expected multiples of 14"),
        ({"phases": [{"share": 0.7}, {"share": 0.4}]}, "phases have shares of 1.1 together: expected at most 1"),
    ],
)
def test_recipes_say_what_would_be_right(changes, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        make_recipe({"steps": 4, **changes}, GeometryRecipe)


def test_it_runs_in_one_process(recipe, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpatialError, match="several processes: this stage runs in one"):
        train_geometry(recipe, tmp_path / "run")


def test_views_are_made_once_and_anew_for_another_recording(tmp_path):
    file = tmp_path / "walk.bag"
    file.write_bytes(b"one")
    walk, views = Walk(file), tmp_path / "views"
    assert list(make_views([walk], SIZE, views)) == [""]
    (first,) = open_views([walk], SIZE, views)
    frames = room_scene(8).frames
    assert len(first.images) == len(frames) and first.images.shape[1:3] == SIZE
    camera = frames[0].camera.intrinsics  # of 56 x 42 pixels: 42 of 56 columns, 28 of 42 rows
    assert first.intrinsics[0, 0] == pytest.approx(camera[0, 0] * 42 / 56)
    assert first.intrinsics[0, 3] == pytest.approx((camera[1, 2] + 0.5) * 28 / 42 - 0.5)
    written = {path: path.stat().st_mtime_ns for path in views.rglob("*.npy")}
    assert list(make_views([walk], SIZE, views)) == [""]
    assert {path: path.stat().st_mtime_ns for path in views.rglob("*.npy")} == written
    before = identity(walk)
    file.write_bytes(b"another")
    assert identity(walk) != before and open_views([walk], SIZE, views) == []


def test_a_batch_goes_to_a_device_whole():
    batch = ClipBatches([box_views()], [Phase(1, SIZE, alone=True)], seed=0, clip_frames=4)[0]
    moved = on_device(batch, "meta")
    assert moved.alone and all(value.device.type == "meta" for value in (moved.images, moved.depth, moved.intrinsics))
