"""The end of a run: what is written, from where, and in which order."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
from spatial_mllm_training.runs.folder import RunFolder
from spatial_mllm_training.runs.recipe import RunRecipe
from spatial_mllm_training.runs.run import run


class Trainer:
    """What ``run`` uses of a trainer; ``is_fsdp_enabled``: its own weights are none of use."""

    is_fsdp_enabled = is_deepspeed_enabled = False

    def __init__(self, model):
        self.model_wrapped = SimpleNamespace(inner=model)
        self.callback_handler = SimpleNamespace(callbacks=[])
        self.state = SimpleNamespace(global_step=0, log_history=[])
        self.accelerator = SimpleNamespace(
            unwrap_model=lambda wrapped: wrapped.inner,
            get_state_dict=lambda wrapped: {name: value + 1 for name, value in wrapped.inner.state_dict().items()},
            wait_for_everyone=lambda: None,
        )

    def train(self, resume_from_checkpoint):
        self.state.global_step = 3

    def remove_callback(self, callback):
        pass

    def evaluate(self):
        pass


@pytest.fixture
def base(tmp_path):
    return make_untrained(tmp_path / "base")


@pytest.fixture
def folder(tmp_path):
    found = RunFolder(tmp_path / "run")
    found.open(RunRecipe(), {})
    return found


@pytest.mark.parametrize("sharded", ["", "is_fsdp_enabled", "is_deepspeed_enabled"])
def test_weights_that_are_spread_over_processes_are_gathered(base, folder, sharded):
    trainer = Trainer(load_model(base)[0])
    if sharded:
        setattr(trainer, sharded, True)
    place = run(trainer, folder, str(base))
    before, after = (load_file(path / "model.safetensors") for path in (base, place))
    more = 1 if sharded else 0
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value + more) for name, value in before.items())
    assert json.loads((folder.path / "run.json").read_text()) == {
        "state": "finished",
        "processes": 1,
        "why": "",
        "steps": 3,
    }


def test_what_was_trained_is_there_before_it_is_evaluated(base, folder, monkeypatch):
    def fails(self):
        assert (folder.path / "model" / "model.safetensors").is_file()
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Trainer, "evaluate", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Trainer(load_model(base)[0]), folder, str(base))
    state = json.loads((folder.path / "run.json").read_text())
    assert (state["state"], state["why"]) == ("stopped", "out of memory")
    assert (folder.path / "model" / "model.safetensors").is_file()
