"""Outputs of encoders on disk: exact, bounded, safe with others, and of use in training."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen
from spatial_mllm_training.runs.recipe import RecipeError
from spatial_mllm_training.sft.features import FeatureStore, fill, fingerprint
from spatial_mllm_training.sft.train import train_sft
from tests.closeness import assert_close

from .questions import write_questions
from .training import curve, recipe

SEEN = Seen(torch.arange(12.0).reshape(6, 2), torch.arange(96.0).reshape(48, 2) / 7)
GRID = (1, 4, 6)


def test_what_is_kept_comes_back_exactly(tmp_path):
    store = FeatureStore(tmp_path, "f")
    assert store.get("ab") is None and store.put("ab", GRID, SEEN)
    found = FeatureStore(tmp_path, "f").get("ab")
    assert found and found.grid == GRID
    assert torch.equal(found.seen.visual, SEEN.visual) and torch.equal(found.seen.spatial, SEEN.spatial)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_was_seen_in_bfloat16_comes_back_as_that(tmp_path, dtype):
    """It is the shortest as it is: nothing is rounded, and nothing made longer."""
    seen = SEEN.to(torch.bfloat16)
    store = FeatureStore(tmp_path, "f", dtype=dtype)
    store.put("ab", GRID, seen)
    found = store.get("ab")
    assert found and found.seen.visual.dtype == found.seen.spatial.dtype == torch.bfloat16
    assert torch.equal(found.seen.visual, seen.visual) and torch.equal(found.seen.spatial, seen.spatial)
    assert next(tmp_path.rglob("*.safetensors")).stat().st_size < 2 * (12 + 96) + 300  # and a header


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_the_room_and_its_rounding(tmp_path, dtype, error):
    store = FeatureStore(tmp_path, "f", dtype=dtype)
    store.put("ab", GRID, SEEN)
    found = store.get("ab")
    assert found and found.seen.spatial.dtype == torch.float32
    assert ((found.seen.spatial - SEEN.spatial).abs() <= error * SEEN.spatial.abs()).all()


def test_the_spatial_part_alone(tmp_path):
    store = FeatureStore(tmp_path, "f", keep="spatial")
    store.put("ab", GRID, Seen(None, SEEN.spatial))
    found = store.get("ab")
    assert found and found.seen.visual is None and torch.equal(found.seen.spatial, SEEN.spatial)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_keys_tell_clips_apart(a, b):
    """Also where the same bytes are cut into other images."""
    assert (FeatureStore.key(a) == FeatureStore.key(b)) == (a == b)


def test_the_bound_holds_and_what_is_there_stays(tmp_path):
    store = FeatureStore(tmp_path, "f", megabytes=1)
    big = Seen(torch.zeros(6, 10_000), torch.zeros(48, 1))  # 0.24 MB
    assert [store.put(str(n), GRID, big) for n in range(6)] == [True] * 4 + [False] * 2
    held = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert held <= int((tmp_path / "size").read_text()) <= 1_000_000
    assert store.get("3") is not None and store.get("4") is None
    FeatureStore(tmp_path, "f", megabytes=1)
    assert int((tmp_path / "size").read_text()) == held


def test_a_damaged_file_counts_as_missing(tmp_path):
    store = FeatureStore(tmp_path, "f")
    store.put("ab", GRID, SEEN)
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:20])
    assert store.get("ab") is None and "ab" not in store  # so that it is computed again
    assert store.get("ab") is None and store.put("ab", GRID, SEEN) and store.get("ab") is not None


def test_the_bound_is_of_all_stores_together(tmp_path):
    big = Seen(torch.zeros(6, 10_000), torch.zeros(48, 1))  # 0.24 MB
    first, second = (FeatureStore(tmp_path, name, megabytes=1) for name in "fg")
    assert [first.put("a", GRID, big), second.put("a", GRID, big), first.put("b", GRID, big)] == [True] * 3
    assert second.put("b", GRID, big) and not first.put("c", GRID, big) and not second.put("c", GRID, big)
    assert not FeatureStore(tmp_path, "h", megabytes=1).put("a", GRID, big)


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, "f")
    begun = []

    def stopped(tensors, path, *_):
        begun.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("spatial_mllm_training.sft.features.save_file", stopped)
        store.put("ab", GRID, SEEN)
    assert not [*tmp_path.rglob("*.safetensors")]
    begun[0].write_bytes(b"half of it")  # what only a kill leaves
    FeatureStore(tmp_path, "g")  # of other encoders, but in the same folder
    assert not [*tmp_path.rglob("*.safetensors")] and not begun[0].exists()


SCRIPT = """
import sys, torch
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen
from spatial_mllm_training.sft.features import FeatureStore
store = FeatureStore(sys.argv[1], "f", megabytes=2)
for n in range(30):
    store.put(f"{n % 25:02}", (1, 4, 6), Seen(torch.full((6, 2000), float(n % 25)), torch.zeros(48, 2)))
"""


@pytest.mark.long
def test_processes_share_a_store(tmp_path):
    """Three write the same clips at the same time."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'training'}"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    writers = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [writer.wait(timeout=90) for writer in writers] == [0, 0, 0]
    store = FeatureStore(tmp_path, "f", megabytes=2)
    found = [store.get(f"{n:02}") for n in range(25)]
    assert all(kept and (kept.seen.visual == n).all() for n, kept in enumerate(found))
    assert len([*tmp_path.rglob("*.safetensors")]) == 25


def test_fingerprints_tell_encoders_apart(tiny):
    model, processor = load_model(tiny)
    known = fingerprint(model, processor, "float32")
    assert known == fingerprint(model, processor, "float32") != fingerprint(model, processor, "bfloat16")
    spatial = fingerprint(model, processor, "float32", "spatial")
    with torch.no_grad():
        model.model.visual.patch_embed.proj.weight[0] += 1e-3
    assert known != fingerprint(model, processor, "float32")
    assert spatial == fingerprint(model, processor, "float32", "spatial")  # the 2D encoder has no part in it
    with torch.no_grad():
        model.model.connector.mlp[0].weight[0] += 1.0
        model.lm_head.weight[0] += 1.0
    assert spatial == fingerprint(model, processor, "float32", "spatial")
    with torch.no_grad():
        model.model.spatial_encoder.vggt_model.aggregator.camera_token += 1e-3
    assert spatial != fingerprint(model, processor, "float32", "spatial")


def test_filling_sees_each_clip_once(tiny, tmp_path, monkeypatch):
    model, processor = load_model(tiny)
    store = FeatureStore(tmp_path, "f")
    frames = np.zeros((2, 56, 84, 3), np.uint8)
    clips = [("a", lambda: processor.pack_clip(frames)), ("b", lambda: processor.pack_clip(frames + 9))]
    assert fill(store, model, clips) == 2
    monkeypatch.setattr(model.model, "see", None)
    assert fill(store, model, [*clips, *clips]) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("parts", [["connector", "language_model"], ["connector", "visual"]])
def test_losses_are_the_same_with_and_without(tiny, tmp_path, parts, dtype):
    """The second run reads what the first one kept. With ``visual``: the spatial part alone."""
    data = write_questions(tmp_path / "room", 4)
    curves = []
    for name, folder in (("plain", ""), ("kept", "store"), ("again", "store")):
        features = str(tmp_path / folder) if folder else ""
        given = recipe(tiny, data, train=parts, steps=3, features=features, dtype=dtype)
        train_sft(given, tmp_path / name)
        curves.append(curve(tmp_path / name))
    assert len([*tmp_path.rglob("store/*/*/*.safetensors")]) == 4
    for other in curves[1:]:
        assert_close(other, curves[0])


def test_what_learns_cannot_be_kept(tiny, questions):
    with pytest.raises(RecipeError, match="nothing can be kept while the spatial_encoder learns"):
        recipe(tiny, questions, train=["spatial_encoder"], features="store")
