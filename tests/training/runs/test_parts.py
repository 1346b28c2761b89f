"""Which parameters learn, and how fast."""

import pytest

from spatial_mllm_ros.mllm.checkpoints.loading import empty_model
from spatial_mllm_ros.mllm.checkpoints.untrained import released_config
from spatial_mllm_ros.mllm.spatial_config import SpatialMLLMConfig
from spatial_mllm_training.runs.parts import PARTS, ModelRecipe, parameter_groups, part_of, trainable
from spatial_mllm_training.runs.recipe import RecipeError, make_recipe


@pytest.fixture
def model():
    return empty_model(SpatialMLLMConfig.from_dict({**released_config("tiny"), "vocab_size": 151936}))


def learning(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("part", PARTS)
def test_one_part_learns_and_the_rest_is_frozen(model, part):
    found = learning(trainable(model, make_recipe({"train": [part]}, ModelRecipe)))
    assert found == {name for name, _ in model.named_parameters() if name.startswith(PARTS[part])} != set()


def test_heads_of_the_spatial_encoder_stay(model):
    trainable(model, make_recipe({"train": list(PARTS)}, ModelRecipe))
    heads = [p for name, p in model.named_parameters() if "_head." in name and "lm_head" not in name]
    assert heads and not any(p.requires_grad for p in heads)


def test_rates_and_decay_of_groups(model):
    recipe = make_recipe({"learning_rate": 7e-6, "rates": {"connector": 2e-5}, "weight_decay": 0.1}, ModelRecipe)
    groups = parameter_groups(trainable(model, recipe), recipe)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr"] == (2e-5 if name.startswith("model.connector.") else 7e-6)
            spared = name.endswith("bias") or "norm" in name or "ln_q" in name
            assert group["weight_decay"] == (0.0 if spared else 0.1)
    assert sum(len(group["params"]) for group in groups) == len(learning(model))


def test_adapters_are_on_the_language_model_alone_and_the_connector_learns_whole(model):
    recipe = make_recipe({"train": ["connector"], "lora_rank": 2, "rates": {"lora": 1e-3}}, ModelRecipe)
    wrapped = trainable(model, recipe)
    found = learning(wrapped)
    assert {part_of(name) for name in found} == {"lora", "connector"}
    assert all("language_model" in name for name in found if "lora_" in name)
    assert sum(name.endswith("lora_A.default.weight") for name in found) == 7 * 2  # layers of two blocks
    assert {group["lr"] for group in parameter_groups(wrapped, recipe)} == {1e-3, recipe.learning_rate}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": []}, "expected one or more of connector, language_model, visual, spatial_encoder, or adapters"),
        ({"train": ["connector"], "rates": {"visual": 1e-3}}, "rates.visual: it does not learn: expected connector"),
        ({"lora_rank": 2}, "expected [connector] or []"),
        ({"train": ["head"]}, "expected one of connector"),
    ],
)
def test_what_cannot_be(values, said):
    with pytest.raises(RecipeError) as error:
        make_recipe(values, ModelRecipe)
    assert said in str(error.value)
