"""Which parameters learn, and how fast."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import empty_model, released_name
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained, released_config
from spatial_mllm_training.runs.folder import RunError
from spatial_mllm_training.runs.parts import (
    PARTS,
    ModelRecipe,
    adamw,
    load_learner,
    parameter_groups,
    part_of,
    trainable,
)
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A whole checkpoint, stored as float32."""
    return make_untrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_learns_has_the_numbers_of_the_checkpoint_and_the_rest_those_of_the_recipe(tiny, dtype):
    recipe = make_recipe({"model": str(tiny), "train": ["connector", "visual"], "dtype": dtype}, ModelRecipe)
    model, processor = load_learner(recipe)
    stored, frozen = load_file(tiny / "model.safetensors"), set()
    for name, parameter in model.named_parameters():
        exact = stored[released_name(name)]
        if part_of(name) in ("connector", "visual", ""):  # the heads of VGGT are always float32
            assert parameter.dtype == torch.float32 and torch.equal(parameter, exact), name
        else:
            frozen.add(part_of(name))
            assert parameter.dtype == getattr(torch, dtype) and torch.equal(parameter, exact.to(parameter.dtype)), name
    assert frozen == {"language_model", "spatial_encoder"} and processor is not None
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_a_model_that_does_not_answer_is_none_to_learn(tiny, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    with pytest.raises(RunError, match="has no tokenizer: expected one that answers"):
        load_learner(ModelRecipe(model=str(tmp_path)))


@pytest.mark.parametrize(("lora", "visual"), [(0, False), (4, False), (0, True)])
def test_frozen_encoders_are_not_differentiated(tiny, lora, visual):
    """Gradient checkpointing makes the input of every encoder require gradients."""
    model, processor = load_model(tiny)
    train = ["connector", "visual"] if visual else ["connector"]
    learner = trainable(model, make_recipe({"train": train, "lora_rank": lora}, ModelRecipe))
    learner.gradient_checkpointing_enable({"use_reentrant": False})
    learner.enable_input_require_grads()
    found = {}
    model.model.visual.register_forward_hook(lambda *call: found.update(visual=call[2].pooler_output.requires_grad))
    model.model.connector.register_forward_hook(lambda *call: found.update(connector=call[2].requires_grad))
    model.model.spatial_encoder.vggt_model.aggregator.register_forward_hook(
        lambda *call: found.update(spatial=call[2][model.config.spatial_layer].requires_grad)
    )
    model.model.get_video_features(*processor.pack_clip(np.zeros((2, 56, 84, 3), np.uint8)))
    assert found == {"visual": visual, "spatial": False, "connector": True}


def test_the_optimiser_is_one_kernel_and_adamw_by_hand():
    """The first step: w - lr * (wd * w + sign of the gradient), up to epsilon (Loshchilov and Hutter, 2019)."""
    model = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"connector": torch.nn.Linear(3, 2)})})
    recipe = make_recipe({"train": ["connector"], "learning_rate": 0.1, "weight_decay": 0.5}, ModelRecipe)
    optimizer = adamw(model, recipe)
    assert all(group["fused"] and group["betas"] == (0.9, 0.999) for group in optimizer.param_groups)
    weight, bias = (part.detach().clone() for part in model.parameters())
    for part in model.parameters():
        part.grad = torch.full_like(part, -2.0)
    optimizer.step()
    after = list(model.parameters())
    assert torch.allclose(after[0], weight - 0.1 * (0.5 * weight - 1), atol=1e-6)
    assert torch.allclose(after[1], bias + 0.1, atol=1e-6)  # biases do not decay


def test_where_the_device_has_no_such_kernel_it_is_plain(model):
    recipe = ModelRecipe()
    assert not any(group["fused"] for group in adamw(trainable(model, recipe), recipe).param_groups)  # meta


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
