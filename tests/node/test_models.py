"""How many processes models run in."""

import pytest

from spatial_mllm_ros.config import build
from spatial_mllm_ros.mllm.process import remote
from spatial_mllm_ros.node import models
from spatial_mllm_ros.node.models import Models


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"vggt.model": "nano"}, 1),
        ({"vggt.model": "nano", "ask.model": "nano"}, 1),
        ({"ask.model": "nano"}, 1),
        ({"ask.model": "nano", "ask.adapter": "own"}, 1),
        ({"vggt.model": "nano", "ask.adapter": "own"}, 2),
        ({"vggt.model": "nano", "ask.model": "nano", "ask.adapter": "own"}, 2),
        ({"vggt.model": "other"}, 2),
        ({"vggt.model": "nano", "ask.model": "none"}, 2),
    ],
)
def test_a_model_is_loaded_once_but_for_an_adapter_of_answers(monkeypatch, parameters, count):
    meant = {"": "nano", "none": ""}  # as where nano is installed
    for module in (remote, models):
        monkeypatch.setattr(module, "chosen", lambda name, encoders="": meant.get(name, name), raising=False)
    monkeypatch.setattr(remote.ModelProcess, "start", lambda self: None)
    both = Models(build(parameters), None, remote.ENGINE)
    assert both.geometry is not None and len({both.answers, both.geometry}) == count
    assert both.geometry.model == parameters.get("vggt.model", "nano")
