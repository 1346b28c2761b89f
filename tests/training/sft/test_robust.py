"""Runs that are interrupted, cut into parts or spread over processes draw the same curve."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.train import train_sft

from .training import curve, recipe, run_apart, values

EXACT = 1e-5
SEED = 17  # by which some steps show a clip and a text, none text alone


@pytest.fixture(scope="module")
def plain(tiny, questions, tmp_path_factory):
    """6 steps of 2 samples in one process."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    train_sft(recipe(tiny, questions, steps=6, checkpoint_every=2, workers=0), out)
    return out


def same(a, b):
    assert len(curve(a)) == 6
    for name in ("loss", "learning_rate"):
        assert np.allclose(curve(a, name), curve(b, name), rtol=0, atol=EXACT)


def test_a_killed_run_goes_on_where_it_was(tiny, questions, plain, tmp_path):
    """Killed in its fifth step: step 4 was the last checkpoint, and half a later one lies about."""
    given = values(tiny, questions, steps=6, checkpoint_every=2, workers=0)
    assert run_apart(given, tmp_path / "run", kill_at=5) == -9
    run = tmp_path / "run"
    assert (run / "checkpoint-4" / "whole").is_file() and not (run / "model").exists()
    (run / "checkpoint-5").mkdir()
    (run / "checkpoint-5" / "model.safetensors").write_bytes(b"half")
    train_sft(recipe(tiny, questions, steps=6, checkpoint_every=2, workers=0), run)
    assert not (run / "checkpoint-5").exists()
    same(run, plain)
    ours, theirs = (load_file(out / "model" / "model.safetensors") for out in (run, plain))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < EXACT


def test_accumulated_batches_are_one_large_batch(tiny, questions, plain, tmp_path):
    train_sft(recipe(tiny, questions, steps=6, checkpoint_every=100, batch=1, accumulate=2), tmp_path / "run")
    same(tmp_path / "run", plain)


@pytest.mark.long
def test_two_processes_are_one(tiny, questions, plain, tmp_path):
    """Gloo over loopback; each reads every other sample."""
    given = values(tiny, questions, steps=6, checkpoint_every=100, batch=1)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert run_apart(given, tmp_path / "run", *launcher) == 0
    same(tmp_path / "run", plain)


@pytest.mark.long
def test_two_processes_of_which_one_has_no_pictures(tiny, questions, tmp_path):
    """A clip, or a clip and a text, in each step: where one has a text alone, the other waits for its connector."""
    turns = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    text = tmp_path / "general.jsonl"
    text.write_text("".join(json.dumps({"id": str(n), "conversations": turns}) + "\n" for n in range(12)))
    data = [{"path": str(questions)}, {"path": str(text)}]
    more = {"steps": 6, "gradient_checkpointing": True, "data": data, "seed": SEED}
    drawn = Mixture([DataEntry(**entry) for entry in data]).draws(12, SEED)[:, 0].reshape(6, 2)
    assert {(0, 1), (1, 0)} <= {*map(tuple, drawn.tolist())} and (drawn.min(1) == 0).all()
    train_sft(recipe(tiny, questions, **more), tmp_path / "one")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert run_apart(values(tiny, questions, **more, batch=1), tmp_path / "two", *launcher) == 0
    same(tmp_path / "two", tmp_path / "one")
