"""What is refused where a run is started."""

from types import SimpleNamespace
from typing import Any

import pytest

from spatial_mllm_training.runs.arguments import check_launch
from spatial_mllm_training.runs.folder import RunError
from spatial_mllm_training.runs.recipe import RunRecipe


def launch(**more) -> Any:
    """What ``check_launch`` reads of TrainingArguments."""
    return SimpleNamespace(**{"n_gpu": 1, "deepspeed_plugin": None, **more})


def test_several_gpus_need_a_launcher():
    with pytest.raises(RunError, match=r"4 GPUs and one process: .*CUDA_VISIBLE_DEVICES=0, or torchrun .* 4 "):
        check_launch(RunRecipe(), launch(n_gpu=4))


def test_deepspeed_cannot_skip_a_step():
    with pytest.raises(RunError, match=r"on_nan = 'skip': .* expected 'stop'"):
        check_launch(RunRecipe(on_nan="skip"), launch(deepspeed_plugin=object()))


@pytest.mark.parametrize("count", [0, 1])
def test_the_rest_may_start(count):
    check_launch(RunRecipe(on_nan="skip"), launch(n_gpu=count))
    check_launch(RunRecipe(on_nan="stop"), launch(n_gpu=count, deepspeed_plugin=object()))
