"""Rows about what runs the model: torch, transformers, PEFT."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from . import Row

MODEL = "spatial_mllm_ros/mllm/families/spatial_mllm/model.py"
LOADING = "spatial_mllm_ros/mllm/families/spatial_mllm/loading.py"
CONFIG = "spatial_mllm_ros/mllm/families/spatial_mllm/config.py"
PROCESSOR = "spatial_mllm_ros/mllm/families/spatial_mllm/processor.py"
CACHE = "spatial_mllm_ros/mllm/families/clip.py"


def _config() -> Any:
    from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import released_config

    return SpatialMLLMConfig.from_dict({**released_config("tiny"), "vocab_size": 151_665})


def _language() -> Any:
    import torch
    from transformers import Qwen2_5_VLTextModel

    torch.manual_seed(0)
    model = Qwen2_5_VLTextModel(_config().text).eval()
    for name, parameter in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            parameter.data *= 20  # far from uniform attention: positions show
    return model


def a_language_model_is_given_embeddings_positions_and_a_cache(_: Path) -> None:
    import torch
    from transformers import DynamicCache

    from spatial_mllm_ros.mllm.families.clip import CACHE
    from tests.closeness import assert_close

    model, cache = _language(), DynamicCache()
    with torch.no_grad():
        embeds, at = torch.randn(1, 6, 64), torch.arange(6) + torch.arange(3)[:, None, None]
        whole = model(inputs_embeds=embeds, position_ids=at, use_cache=False).last_hidden_state
        for part in (slice(0, 4), slice(4, 6)):
            given = {"inputs_embeds": embeds[:, part], "position_ids": at[..., part], CACHE: cache}
            output = model(**given, use_cache=True)
            assert_close(output.last_hidden_state, whole[:, part])
        moved = model(inputs_embeds=embeds, position_ids=2 * at, use_cache=False).last_hidden_state
    assert output[CACHE] is cache, "its output does not name the cache"
    assert float((moved - whole).abs().max()) > 1e-3, "positions on three axes change nothing"


def a_cache_is_cropped_layer_by_layer(_: Path) -> None:
    import torch
    from transformers import DynamicCache

    cache: Any = DynamicCache()
    for layer in range(2):
        cache.update(torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), layer)
    cache.layers[1].crop(-2)
    assert [cache.get_seq_length(layer) for layer in range(2)] == [5, 3]
    assert cache.layers[1].keys.shape == cache.layers[1].values.shape == (1, 2, 3, 4)
    cache.rope_deltas = torch.tensor([[3]])
    assert deepcopy(cache).rope_deltas.tolist() == [[3]], "a copy of a cache loses what was noted with it"


def parts_of_the_2d_encoder_are_used_by_name(_: Path) -> None:
    import torch
    from transformers import Qwen2_5_VisionTransformerPretrainedModel

    from spatial_mllm_ros.mllm.families.spatial_mllm.tower import Tower
    from tests.closeness import assert_close

    torch.manual_seed(0)
    theirs, ours = Qwen2_5_VisionTransformerPretrainedModel(_config().vision).eval(), Tower(_config().vision).eval()
    ours.load_state_dict(theirs.state_dict())
    pixels, grids = torch.randn(64, 1176), torch.tensor([[2, 4, 6], [1, 4, 4]])
    with torch.no_grad():
        found, expected = (tower(pixels, grid_thw=grids).pooler_output for tower in (ours, theirs))
    assert_close(found, expected)


def nodes_of_an_export_name_their_modules(_: Path) -> None:
    import torch
    from torch import nn

    from spatial_mllm_ros.mllm.encoders.export.translate import translate

    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    graph = translate(module, {"x": torch.ones(3, 4)}, {"x": {0: "n"}}, ("y",)).graph
    products = [node.meta["modules"] for node in graph if node.op_type in ("MatMul", "Gemm")]
    assert [("0" in names, "1.0" in names) for names in products] == [(True, False), (False, True)]


def generate_begins_from_embeddings_and_positions(_: Path) -> None:
    import torch
    from transformers import GenerationConfig

    from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

    torch.manual_seed(0)
    model = SpatialMLLMForConditionalGeneration(_config()).eval()
    seen: list[dict[str, Any]] = []
    model.model.language_model.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    ids, at = torch.arange(4)[None], torch.tensor([0, 5, 6, 9]).expand(3, 1, 4)
    config = GenerationConfig(max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=0)
    said = model.generate(ids, inputs_embeds=torch.randn(1, 4, 64), position_ids=at, generation_config=config)
    assert said[:, :4].tolist() == ids.tolist() and said.shape == (1, 7)
    found = [given["position_ids"][-3:, 0].tolist() for given in seen]
    assert found == [at[:, 0].tolist(), [[10]] * 3, [[11]] * 3], f"positions {found}"


def buffers_are_made_by_a_part_s_configuration(_: Path) -> None:
    import torch

    from spatial_mllm_ros.mllm.families.spatial_mllm.loading import empty_model
    from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

    whole = dict(SpatialMLLMForConditionalGeneration(_config()).named_buffers())
    made = dict(empty_model(_config(), torch.bfloat16).named_buffers())
    assert made.keys() == whole.keys() and made
    assert all(torch.equal(made[name], value) for name, value in whole.items())


def an_output_layer_is_tied(_: Path) -> None:
    from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

    model = SpatialMLLMForConditionalGeneration(_config())
    model.tie_weights()
    assert model.lm_head.weight is model.get_input_embeddings().weight


def a_configuration_is_checked_when_it_is_made(folder: Path) -> None:
    from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig

    values = _config().to_dict()
    assert values["text_config"]["hidden_size"] == 64 and values["spatial_config"]["embed_dim"] == 64
    with pytest.raises(ValueError, match="connector_type 'other' is unknown"):
        SpatialMLLMConfig(connector_config={"connector_type": "other"})


def a_processor_of_our_own_renders_and_is_saved(folder: Path) -> None:
    from transformers import Qwen2VLImageProcessorPil

    from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor
    from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import build_tokenizer

    processor = SpatialMLLMProcessor(Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=12544), build_tokenizer())
    turn: Any = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "How far?"}]}]
    rendered = processor.apply_chat_template(turn, add_generation_prompt=True)
    assert "<|vision_start|><|video_pad|><|vision_end|>How far?" in str(rendered)
    processor.save_pretrained(folder)
    found = SpatialMLLMProcessor.from_pretrained(folder)
    assert found.pixels == (3136, 12544) and found.chat_template == processor.chat_template
    kept = json.loads((folder / "tokenizer_config.json").read_text())
    assert kept, "nothing is saved"


def an_adapter_is_named_and_merged(_: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    model: Any = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"proj": torch.nn.Linear(4, 4, bias=False)})})
    before = model.model.proj.weight.detach().clone()
    wrapped: Any = get_peft_model(model, LoraConfig(r=2, target_modules=["proj"]))
    assert isinstance(wrapped, PeftModel) and wrapped.get_base_model() is model
    names = set(get_peft_model_state_dict(wrapped))
    assert names == {f"base_model.model.model.proj.lora_{side}.weight" for side in "AB"}, names
    a, b = torch.randn(2, 4), torch.randn(4, 2)
    set_peft_model_state_dict(wrapped, {name: a if "lora_A" in name else b for name in names})
    merged = wrapped.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(merged.model.proj.weight.detach(), before + 4 * b @ a)  # alpha 8 over r 2


def a_module_is_converted_by_apply(_: Path) -> None:
    import torch

    from spatial_mllm_ros.mllm.encoders.vggt.layers import Float32

    class Part(Float32):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 2)

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), Part()).to(torch.bfloat16)
    assert [p.dtype for p in model.parameters()] == 2 * [torch.bfloat16] + 2 * [torch.float32]


ROWS = [
    Row(
        "transformers",
        "Qwen2_5_VLTextModel takes embeddings, positions on three axes and a cache, by its newer name or the older",
        CACHE,
        "signature(Qwen2_5_VLTextModel.forward)",
        a_language_model_is_given_embeddings_positions_and_a_cache,
        "transformers",
    ),
    Row(
        "transformers",
        "layers of a DynamicCache are cropped one by one and have keys and values; a cache takes attributes",
        CACHE,
        "layer.crop(-more)",
        a_cache_is_cropped_layer_by_layer,
        "transformers",
    ),
    Row(
        "transformers",
        "generate begins from embeddings and positions, and counts on from the last of each axis",
        MODEL,
        'kwargs["position_ids"] = positions',
        generate_begins_from_embeddings_and_positions,
        "transformers",
    ),
    Row(
        "transformers",
        "what a model computes rather than stores is made by type(child)(part.config)",
        LOADING,
        "type(child)(part.config)",
        buffers_are_made_by_a_part_s_configuration,
        "transformers",
    ),
    Row(
        "transformers",
        "_tied_weights_keys names what tie_weights ties",
        MODEL,
        "_tied_weights_keys",
        an_output_layer_is_tied,
        "transformers",
    ),
    Row(
        "transformers",
        "Qwen2_5_VLConfig is a dataclass, checked in __post_init__, read by from_dict",
        CONFIG,
        "def __post_init__",
        a_configuration_is_checked_when_it_is_made,
        "transformers",
    ),
    Row(
        "transformers",
        "ProcessorMixin takes a processor with a __call__ of its own; get_processor_dict finds its template",
        PROCESSOR,
        "get_processor_dict",
        a_processor_of_our_own_renders_and_is_saved,
        "transformers",
    ),
    Row(
        "peft",
        "names of an adapter's tensors; merge_and_unload adds them up",
        LOADING,
        'head = "base_model.model."',
        an_adapter_is_named_and_merged,
        "peft",
    ),
    Row(
        "transformers",
        "modules of Qwen2_5_VisionTransformerPretrainedModel by name; blocks hand keywords on to attention",
        "spatial_mllm_ros/mllm/families/spatial_mllm/tower.py",
        "self.rotary_pos_emb.inv_freq",
        parts_of_the_2d_encoder_are_used_by_name,
        "transformers",
    ),
    Row(
        "torch",
        "onnx.export notes the modules of a node as pkg.torch.onnx.name_scopes",
        "spatial_mllm_ros/mllm/encoders/export/translate.py",
        'SCOPES = "pkg.torch.onnx.name_scopes"',
        nodes_of_an_export_name_their_modules,
        "onnxscript",
    ),
    Row(
        "torch",
        "Module.to converts by _apply, part by part",
        "spatial_mllm_ros/mllm/encoders/vggt/layers.py",
        "super()._apply(keep, recurse)",
        a_module_is_converted_by_apply,
        "torch",
    ),
]
