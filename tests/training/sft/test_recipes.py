"""The recipes that come with the package are whole and say what the papers say."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from spatial_mllm_training.runs.recipe import RECIPES, load_recipe
from spatial_mllm_training.sft.recipe import SftRecipe


def test_the_reference_way():
    recipe = load_recipe("sft_connector", SftRecipe)
    assert recipe.train == ["connector", "language_model"] and not recipe.lora_rank
    assert (recipe.learning_rate, recipe.rates, recipe.weight_decay) == (7e-6, {"connector": 2e-5}, 0.1)
    assert (recipe.schedule, recipe.warmup) == ("cosine", 0.03)


def test_multi_spatial_mllms_way():
    recipe = load_recipe("sft_lora", SftRecipe)
    assert (recipe.lora_rank, recipe.learning_rate, recipe.schedule) == (16, 4e-5, "cosine")
    assert recipe.train == ["connector"]


def test_the_tiny_one_runs_anywhere():
    recipe = load_recipe("sft_tiny", SftRecipe)
    assert recipe.device == "cpu" and recipe.steps <= 20


@pytest.mark.parametrize("file", sorted((RECIPES / "distributed").glob("*.yaml")), ids=lambda file: file.stem)
def test_accelerate_reads_the_distributed_configurations(file: Path):
    config = load_config_from_file(str(file))
    assert config.num_processes == 8 and config.mixed_precision == "bf16"


def test_fsdp_spreads_each_layer_of_the_language_model_and_the_rest_as_one():
    """What is gathered apart has to be used equally often by all processes; see test_sharded.py."""
    config = load_config_from_file(str(RECIPES / "distributed" / "fsdp2.yaml"))
    assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == "Qwen2_5_VLDecoderLayer"
