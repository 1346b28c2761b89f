"""Checkpoints of every layout load to the same model; every damage is told apart, in words, before anything is used."""

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip(
    "torch", reason="the model, and nearly all tests of it, need torch: pip install 'spatial_mllm_ros[mllm]'"
)

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import TRAINED_PIXELS
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained, released_config
from spatial_mllm_ros.mllm.question import Question
from spatial_mllm_ros.mllm.text.tokens import encode_text
from spatial_mllm_ros.mllm.weights import files as checkpoint
from spatial_mllm_ros.mllm.weights.files import INDEX, WEIGHTS, ModelError
from spatial_mllm_ros.mllm.weights.saving import new_folder, save_shards
from tests.closeness import assert_close

LORA = r".*language_model.*\.(q_proj|v_proj|down_proj)"


@pytest.fixture(scope="module")
def model(tiny):
    return load_model(tiny)[0]


@pytest.fixture
def copy(tiny, tmp_path):
    """A checkpoint to damage."""
    return shutil.copytree(tiny, tmp_path / "copy")


@torch.no_grad()
def logits(model, seed=0):
    config = model.config
    clip = [config.vision_start_token_id, *[config.video_token_id] * 12, config.vision_end_token_id]
    ids = torch.tensor([[40, 41, *clip, 42, 43, 44]])
    pixels = torch.randn(48, 1176, generator=torch.Generator().manual_seed(seed))
    return model(input_ids=ids, pixel_values_videos=pixels, video_grid_thw=torch.tensor([[2, 4, 6]])).logits


def edit(folder, change):
    """Changes the tensors of a one-file checkpoint."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def set_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def shard(folder, limit=2_000_000):
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    save_shards(folder, iter(tensors.items()), limit)
    return sorted(folder.glob("model-*.safetensors"))


def refusal(path, *args, **kwargs):
    """The message with which a model is refused; never a path or several lines."""
    with pytest.raises(ModelError) as caught:
        load_model(path, *args, **kwargs)
    assert isinstance(caught.value, SpatialError)
    assert "/tmp" not in caught.value.message and "\n" not in caught.value.message
    return caught.value


def test_complete(tiny):
    model, processor = load_model(str(tiny))
    assert type(model) is SpatialMLLMForConditionalGeneration
    assert (
        processor is not None
        and processor.tokenizer.convert_tokens_to_ids("<|video_pad|>") == model.config.video_token_id
    )
    assert not model.training and model.config._attn_implementation == "sdpa"
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert model.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_who_may_read_the_other_files_may_read_the_weights(copy):
    shard(copy)
    assert len({file.stat().st_mode for file in copy.iterdir() if file.suffix in (".json", ".safetensors")}) == 1


@pytest.fixture
def released(copy):
    """The files of a released folder: shards, Qwen2.5-VL's names for everything, and what training left behind."""
    shard(copy, 3_000_000)
    set_config(copy, rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]}, transformers_version="4.51.3")
    tokens = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    words = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+"
    split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    tokens |= {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}
    special = {token["content"]: token["id"] for token in tokens["added_tokens"]}
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    pictures = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    pictures |= {"size": {"shortest_edge": 3136, "longest_edge": 12845056}, "processor_class": "Qwen2_5_VLProcessor"}
    template = (
        "{% for m in messages %}{% if loop.first %}<|im_start|>system\nBe helpful.<|im_end|>\n"
        "{% endif %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}{% if part['type'] == 'video' %}"
        "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    ends = [special["<|im_end|>"], special["<|endoftext|>"]]
    files = {
        "tokenizer.json": tokens,
        "vocab.json": tokens["model"]["vocab"],
        "added_tokens.json": special,
        "special_tokens_map.json": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "tokenizer_config.json": {
            "added_tokens_decoder": {str(i): {"content": t, "special": True, **flags} for t, i in special.items()},
            "additional_special_tokens": list(special)[1:],
            "chat_template": template,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "bos_token": None,
            "model_max_length": 131072,
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen2_5_VLProcessor",
        },
        "preprocessor_config.json": {**pictures, "image_processor_type": "Qwen2VLImageProcessorFast"},
        "video_preprocessor_config.json": {**pictures, "video_processor_type": "Qwen2VLVideoProcessor", "fps": 2},
        "generation_config.json": {"eos_token_id": ends, "do_sample": True, "temperature": 1e-6, "top_k": 1},
    }
    for name, content in files.items():
        (copy / name).write_text(json.dumps(content), "utf-8")
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in tokens["model"]["merges"])
    (copy / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
    for name in ("chat_template.json", "chat_template.jinja"):
        (copy / name).unlink(missing_ok=True)
    (copy / "training_args.bin").write_bytes(b"\x80")
    return copy


def test_a_folder_as_it_is_released(released, model):
    """Weights, prompt and sizes are those of its files; what a person wrote has the tokens of its own tokenizer."""
    loaded, processor = load_model(released)
    assert torch.equal(logits(loaded), logits(model))
    assert len(loaded.generation_config.eos_token_id) == 2
    assert processor.pixels == (3136, 12845056) and processor.clip_pixels == TRAINED_PIXELS
    prompt = processor.prefix_ids((1, 2, 2)) + processor.question_ids(Question("Where is <|im_end|>?"))
    assert processor.tokenizer.decode(prompt).startswith(
        "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|video_pad|><|vision_end|>Where is <|im_end|>?\nPlease"
    )
    assert prompt.count(processor.tokenizer.eos_token_id) == 2
    for text in ("Hello, it's 12 chairs.\n\n x", "e\u0301 caf\u00e9 \u65e5\u672c \U0001f600\t!"):
        assert encode_text(processor.tokenizer, text) == processor.tokenizer(text)["input_ids"]


def test_without_a_tokenizer_there_is_no_processor(copy):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (copy / file).unlink()
    assert load_model(copy)[1] is None


def test_answers_depend_on_what_is_seen(model):
    assert float((logits(model, seed=0) - logits(model, seed=1))[0, -1].abs().max()) > 0.1


def test_same_seed_same_weights(tiny, tmp_path):
    again, other = make_untrained(tmp_path / "again"), make_untrained(tmp_path / "other", seed=1)
    assert (again / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes() != (other / WEIGHTS).read_bytes()


def test_shards_are_one_model(copy, model):
    assert len(shard(copy)) > 3
    assert torch.equal(logits(load_model(copy)[0]), logits(model))


@pytest.mark.parametrize("size", ["1MB", "1GB"])
def test_saved_by_transformers_loads_again(tmp_path, model, size):
    model.save_pretrained(tmp_path / "saved", max_shard_size=size)
    names = [name for file in (tmp_path / "saved").glob("*.safetensors") for name in load_file(file)]
    assert any(name.startswith("model.language_model.") for name in names)
    assert (tmp_path / "saved" / INDEX).exists() == (size == "1MB")
    assert torch.equal(logits(load_model(tmp_path / "saved")[0]), logits(model))


def test_saving_where_it_came_from(copy, model):
    """The weights are in memory, not in the file that is being overwritten."""
    loaded, _ = load_model(copy)
    loaded.save_pretrained(copy)
    assert torch.equal(logits(load_model(copy)[0]), logits(model))


@pytest.mark.parametrize(("dtype", "close"), [("bfloat16", 0.08), ("float16", 0.01)])
def test_number_formats(tiny, model, dtype, close):
    short, _ = load_model(tiny, dtype=dtype)
    heads = ("camera_head", "depth_head", "point_head")
    for name, parameter in short.named_parameters():
        expected = torch.float32 if any(head in name for head in heads) else getattr(torch, dtype)
        assert parameter.dtype == expected, name
    assert short.model.visual.rotary_pos_emb.inv_freq.dtype == torch.float32
    frequencies = [m.model.language_model.rotary_emb.inv_freq for m in (short, model)]
    assert frequencies[0].dtype == torch.float32 and torch.equal(*frequencies)
    ours, exact = logits(short).float(), logits(model)
    assert 0 < float((ours - exact).abs().mean()) < close * float(exact.std())


def test_output_layer_of_its_own(copy, model):
    def change(tensors):
        tensors["lm_head.weight"] = -tensors["model.embed_tokens.weight"]

    edit(copy, change)
    set_config(copy, tie_word_embeddings=False)
    assert_close(logits(load_model(copy)[0]), -logits(model))


def test_tied_output_layer_may_be_stored(copy, model):
    edit(copy, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    assert torch.equal(logits(load_model(copy)[0]), logits(model))


def test_track_head_is_left_out(copy, model):
    name = "spatial_encoder.vggt_model.track_head.tracker.corr_mlp.fc1.weight"
    edit(copy, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
    assert torch.equal(logits(load_model(copy)[0]), logits(model))


def test_missing_tensors(copy):
    edit(copy, lambda tensors: [tensors.pop(f"model.layers.{i}.mlp.up_proj.weight") for i in (0, 1)])
    message = refusal(copy).message
    assert "2 of" in message and "missing" in message and "layers.0.mlp.up_proj.weight" in message


def test_unexpected_tensors(copy):
    edit(copy, lambda tensors: tensors.update({"model.layers.7.extra": torch.zeros(2)}))
    message = refusal(copy).message
    assert "1 unexpected" in message and "model.layers.7.extra" in message


def test_wrong_shape(copy):
    edit(copy, lambda tensors: tensors.update({"connector.mlp.2.bias": torch.zeros(65)}))
    message = refusal(copy).message
    assert "connector.mlp.2.bias is [65]" in message and "[64]" in message


def test_missing_shard(copy):
    shards = shard(copy)
    shards[1].unlink()
    message = refusal(copy).message
    assert f"1 of {len(shards)} shards" in message and shards[1].name in message


def test_index_that_leaves_the_folder(copy):
    shard(copy)
    index = json.loads((copy / INDEX).read_text())
    index["weight_map"]["connector.mlp.2.bias"] = "../elsewhere.safetensors"
    (copy / INDEX).write_text(json.dumps(index))
    assert "expected a file of the folder" in refusal(copy).message


@pytest.mark.parametrize("name", ["..", "", "a\nb.safetensors", "shard.bin", "a" * 5000, "a\0.safetensors"])
def test_index_with_names_that_are_no_shards(copy, name):
    shard(copy)
    index = json.loads((copy / INDEX).read_text())
    index["weight_map"]["connector.mlp.2.bias"] = name
    (copy / INDEX).write_text(json.dumps(index))
    message = refusal(copy).message
    assert "expected a file of the folder" in message and len(message) < 300


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (torch.full((64,), torch.nan), "float32", "undefined"),
        (torch.full((64,), torch.inf), "bfloat16", "infinite"),
        (torch.full((64,), 1e6), "float16", "too large for float16: load with bfloat16"),
        (torch.zeros(64, dtype=torch.int8), "float32", "stored as int8: expected float32"),
        (torch.zeros(64, dtype=torch.float8_e4m3fn), "float32", "stored as float8_e4m3fn"),
    ],
)
def test_numbers_that_cannot_be_used(copy, value, dtype, said):
    edit(copy, lambda tensors: tensors.update({"connector.mlp.2.bias": value}))
    message = refusal(copy, dtype=dtype).message
    assert said in message and "connector.mlp.2.bias" in message


def test_large_numbers_that_are_finite(copy):
    """Their sum is not; they are."""
    edit(copy, lambda tensors: tensors.update({"connector.mlp.2.bias": torch.full((64,), 3e38)}))
    assert load_model(copy)


def test_one_tensor_under_two_names(copy):
    def change(tensors):
        tensors["model.language_model.norm.weight"] = tensors["model.norm.weight"] + 1

    edit(copy, change)
    message = refusal(copy).message
    assert "model.language_model.norm.weight and model.norm.weight are the same tensor" in message


def test_tensor_in_two_shards(copy):
    shards = shard(copy)
    tensors = load_file(shards[0])
    save_file({**load_file(shards[1]), next(iter(tensors)): torch.zeros(1)}, shards[1])
    message = refusal(copy).message
    assert shards[0].name in message and shards[1].name in message


@pytest.mark.parametrize("kept", [0, 7, 5000, -1])
def test_cut_short(copy, kept):
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[:kept])
    assert "model.safetensors is damaged or cut short" in refusal(copy).message


def test_pickled_is_not_opened(copy):
    (copy / WEIGHTS).rename(copy / "pytorch_model.bin")
    message = refusal(copy).message
    assert "pytorch_model.bin is pickled" in message and "safetensors" in message


def test_no_weights(copy):
    (copy / WEIGHTS).unlink()
    assert "no weights" in refusal(copy).message


def test_other_architecture(copy):
    set_config(copy, architectures=["LlamaForCausalLM"], model_type="llama")
    error = refusal(copy)
    assert error.code == ErrorCode.BAD_REQUEST
    assert "LlamaForCausalLM" in error.message and "SpatialMLLMForConditionalGeneration" in error.message


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": 66}, "hidden_size"),
        ({"spatial_config": {"embed_dim": 63}}, "embed_dim"),
        ({"connector_config": {"connector_type": "cross_attention"}}, "mlp_add"),
        ({"connector_config": {"spatial_embeds_layer_idx": 24}}, "spatial_embeds_layer_idx"),
        ({"vision_config": None}, "tensors"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000: expected at most 512"),
        ({"vision_config": {"depth": 10**9}}, "depth = 1000000000: expected at most 512"),
        ({"spatial_config": {"depth": 10**4}}, "depth = 10000: expected at most 512"),
        ({"spatial_config": {"patch_embed": {"depth": 10**4}}}, "depth = 10000: expected at most 512"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0"),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [2, 3]}}, "three numbers whose sum is 8"),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}, "three numbers whose sum is 8"),
        ({"rope_theta": 0}, "rope_theta = 0"),
        ({"vision_config": {"num_heads": 0}}, "num_heads = 0"),
        ({"vision_config": {"window_size": 14}}, "window_size = 14"),
        ({"vision_config": {"spatial_merge_size": 3}}, "spatial_merge_size = 3: expected 2"),
        ({"vision_config": {"temporal_patch_size": 1}}, "temporal_patch_size = 1: expected 2"),
        ({"spatial_config": [1]}, "spatial_config = [1]: expected an object"),
        ({"video_token_id": 10**9}, "video_token_id = 1000000000"),
        ({"hidden_act": "wavy"}, "'wavy' is unknown"),
        ({"architectures": 5, "model_type": None}, "holds 5"),
        ({"architectures": None, "model_type": None}, "holds no known model"),
        ({"image_token_id": 3}, "image_token_id is 3 in config.json"),
    ],
)
def test_configuration_that_makes_no_sense(copy, values, named):
    set_config(copy, **values)
    assert named in refusal(copy).message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no config.json"),
        ("", "no readable JSON"),
        ("{", "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
        ("[1]", "list"),
    ],
)
def test_configuration_that_cannot_be_read(copy, text, said):
    (copy / "config.json").unlink()
    if text is not None:
        (copy / "config.json").write_text(text)
    assert said in refusal(copy).message


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:99", "", "CPU"])
def test_unknown_device(tiny, device):
    error = refusal(tiny, device=device)
    assert error.code == ErrorCode.BAD_REQUEST and f"'{device}'" in error.message


@pytest.mark.parametrize("dtype", ["int8", "float64", "auto", ""])
def test_unknown_dtype(tiny, dtype):
    error = refusal(tiny, dtype=dtype)
    assert error.code == ErrorCode.BAD_REQUEST and "expected float32, bfloat16, float16" in error.message


def test_larger_than_memory_is_said_before_reading(tiny, monkeypatch):
    """Of a model that does not fit no tensor is read; in a shorter format the same one fits."""
    size = (tiny / WEIGHTS).stat().st_size
    reads = []
    original = checkpoint.safe_open
    monkeypatch.setattr(checkpoint, "free_memory", lambda device: 0.9 * size)
    monkeypatch.setattr(checkpoint, "safe_open", lambda *args, **kw: reads.append(kw) or original(*args, **kw))
    message = refusal(tiny).message
    assert "of memory" in message and "are free" in message
    assert reads and not any("device" in kw for kw in reads)  # headers only
    load_model(tiny, dtype="bfloat16")


def test_free_memory_is_measured():
    total = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert total and 0 < checkpoint.free_memory(torch.device("cpu")) <= int(total[1]) * 1024


def test_on_a_gpu_what_is_free_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3e9, 80e9))
    gpu = torch.device("cuda", 0)
    checkpoint.check_memory(2.8e9, gpu, "m")
    with pytest.raises(ModelError, match=r"needs 4\.2 GB on cuda:0, 3\.0 GB are free"):
        checkpoint.check_memory(4e9, gpu, "m")


def test_how_answers_end(copy):
    """Qwen2.5-VL's own sampling values and two ends; where the file is silent, config.json's."""
    config = json.loads((copy / "config.json").read_text())
    ends = [config["eos_token_id"], config["pad_token_id"]]
    sampling = {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05}
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, **sampling}))
    model, _ = load_model(copy)
    assert model.generation_config.eos_token_id == ends
    ids = torch.tensor([[40, 41, 42]])
    greedy = model.generate(ids, max_new_tokens=4, do_sample=False, repetition_penalty=1.0)
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": None, "temperature": 0.1}))
    model, _ = load_model(copy)
    assert model.generation_config.eos_token_id == config["eos_token_id"]
    assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), greedy)


@pytest.mark.parametrize("values", [{"eos_token_id": "</s>"}, {"eos_token_id": [1, 10**9]}, {"bos_token_id": -1}])
def test_ends_that_are_no_tokens(copy, values):
    (copy / "generation_config.json").write_text(json.dumps(values))
    message = refusal(copy).message
    assert next(iter(values)) in message and "expected a token of the vocabulary" in message


@pytest.mark.parametrize(
    "name", ["", "no-such-folder", "a/b/c", "../none", "owner/never-published-name", "a" * 5000, "~nobody/x"]
)
def test_no_such_model(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal(name).code == ErrorCode.BAD_REQUEST


def test_a_file_is_no_model(tiny):
    assert "expected a folder or a hub id" in refusal(tiny / WEIGHTS).message


def test_hub_id_from_the_cache(tiny, tmp_path, monkeypatch, model):
    revision = "0123456789012345678901234567890123456789"
    cached = tmp_path / "models--owner--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(revision)
    shutil.copytree(tiny, cached / "snapshots" / revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(logits(load_model("owner/tiny")[0]), logits(model))
    (cached / "snapshots" / revision / WEIGHTS).unlink()
    assert refusal("owner/tiny").message.startswith("owner/tiny: no weights")


def test_one_checkpoint_made_does_not_change_the_next():
    before = json.dumps(released_config("tiny"))
    SpatialMLLMConfig.from_dict(released_config("tiny") | {"vocab_size": 300_000})
    assert json.dumps(released_config("tiny")) == before


def test_transformers_own_loader_is_refused(tiny):
    with pytest.raises(NotImplementedError, match="load_model"):
        SpatialMLLMForConditionalGeneration.from_pretrained(tiny)


@pytest.fixture
def adapter(tiny, tmp_path):
    """A LoRA adapter whose weights are not zero, with a trained connector, and the logits of the model with it."""
    wrapped = get_peft_model(load_model(tiny)[0], LoraConfig(r=4, target_modules=LORA, modules_to_save=["connector"]))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    wrapped.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", logits(wrapped.eval())


def test_adapter(tiny, adapter, model):
    adapted, _ = load_model(tiny, adapter=adapter[0])
    assert type(adapted) is SpatialMLLMForConditionalGeneration
    assert_close(logits(adapted), adapter[1])
    assert float((logits(model) - adapter[1]).abs().max()) > 0.1


def test_adapter_of_the_released_layout(tiny, adapter):
    """Trained where layers were still called model.layers."""
    file = adapter[0] / "adapter_model.safetensors"
    tensors = {name.replace("model.language_model.", "model."): value for name, value in load_file(file).items()}
    save_file({name.replace("model.model.connector", "model.connector"): v for name, v in tensors.items()}, file)
    assert_close(logits(load_model(tiny, adapter=adapter[0])[0]), adapter[1])


def test_adapter_that_lacks_a_tensor(tiny, adapter):
    file = adapter[0] / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_B" in name)
    del tensors[name]
    save_file(tensors, file)
    message = refusal(tiny, adapter=adapter[0]).message
    assert "does not fit" in message and name in message


def test_adapter_of_a_wider_model(tiny, adapter):
    file = adapter[0] / "adapter_model.safetensors"
    save_file({name: torch.cat([value, value], dim=-1) for name, value in load_file(file).items()}, file)
    assert refusal(tiny, adapter=adapter[0]).message.startswith("adapter adapter")


def test_pickled_adapter_is_not_opened(tiny, adapter):
    (adapter[0] / "adapter_model.safetensors").rename(adapter[0] / "adapter_model.bin")
    assert "adapter_model.bin is pickled" in refusal(tiny, adapter=adapter[0]).message


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"r": 8}, "size mismatch"),
        ({"r": 10**9}, "r = 1000000000: expected at most 4096"),
        ({"peft_type": "TELEPATHY"}, "TELEPATHY: expected LORA"),
        ({"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "owner/name"}, "PROMPT_TUNING: expected LORA"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config: expected a LoRA with"),
        ({"rank_pattern": {"(a|aa)+$": 4}}, "rank_pattern: expected names of modules"),
        ({"alpha_pattern": ["x"]}, "alpha_pattern: expected names of modules"),
    ],
)
def test_adapter_configuration_that_does_not_fit(tiny, adapter, values, said):
    file = adapter[0] / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    message = refusal(tiny, adapter=adapter[0]).message
    assert said in message and len(message) < 400


@pytest.mark.timeout(60)
def test_a_pattern_that_is_matched_for_ever_is_not_tried(tiny, adapter):
    """Where the weights go is told by their names."""
    file = adapter[0] / "adapter_config.json"
    endless = {"target_modules": r"(.*.*)*.*(.+)+X", "exclude_modules": r"(.*.*)*.*(.+)+X", "lora_dropout": "many"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **endless}))
    assert_close(logits(load_model(tiny, adapter=adapter[0])[0]), adapter[1])


KERNEL = {"_attn_implementation": "owner/kernel", "attn_implementation": "owner/kernel", "use_kernels": True}
KERNEL |= {"_attn_implementation_internal": "owner/kernel", "_experts_implementation": "owner/kernel"}
KERNEL |= {"auto_map": {"AutoConfig": "owner/name--file.Class"}, "quantization_config": {"quant_method": "gptq"}}


@pytest.mark.parametrize("layout", ["released", "nested"])
def test_no_part_of_a_configuration_has_code_loaded(copy, model, monkeypatch, layout):
    def fetched(*args, **kwargs):
        raise AssertionError("code was asked for")

    for name in ("load_and_register_attn_kernel", "get_kernel"):
        monkeypatch.setattr(f"transformers.integrations.hub_kernels.{name}", fetched, raising=False)
    monkeypatch.setattr("transformers.modeling_utils.load_and_register_attn_kernel", fetched, raising=False)
    config = json.loads((copy / "config.json").read_text())
    if layout == "nested":
        config = {**config, **model.config.to_dict()}
    for part in ("text_config", "vision_config", "spatial_config"):
        if part in config:
            config[part] = {**config[part], **KERNEL}
    (copy / "config.json").write_text(json.dumps({**config, **KERNEL}))
    loaded = load_model(copy)[0]
    assert_close(logits(loaded), logits(model))
    for part in (loaded.config, loaded.config.text, loaded.config.vision):
        assert part._attn_implementation == model.config._attn_implementation


def test_how_to_generate_is_not_the_checkpoints_to_say(copy):
    file = copy / "generation_config.json"
    more = {"num_beams": 10**6, "max_length": 10**9, "cache_implementation": "owner/cache", "do_sample": True}
    file.write_text(json.dumps({**json.loads(file.read_text()), **more, "compile_config": {"mode": "x"}}))
    found = load_model(copy)[0].generation_config
    assert (found.num_beams or 1) == 1 and not found.do_sample and found.cache_implementation is None


def test_the_base_that_an_adapter_names_is_not_looked_up(tiny, adapter, monkeypatch):
    def asked(*args, **kwargs):
        raise AssertionError("the hub was asked")

    file = adapter[0] / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "someone/else"}))
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", asked)
    assert_close(logits(load_model(tiny, adapter=adapter[0])[0]), adapter[1])


def test_folder_that_is_no_adapter(tiny):
    error = refusal(tiny, adapter="nowhere")
    assert error.code == ErrorCode.BAD_REQUEST and error.message.startswith("adapter 'nowhere': expected a folder")
    assert "no adapter_model.safetensors" in refusal(tiny, adapter=tiny).message


def test_nothing_is_left_of_a_folder_that_failed(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as part:
        (part / "half").write_text("written")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_of_a_folder_goes(tmp_path):
    (tmp_path / f".out.{2**31}").mkdir()
    with new_folder(tmp_path / "out") as part:
        (part / "new").touch()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["out", "out/new"]


def test_folders_are_not_overwritten(copy):
    with pytest.raises(ModelError, match="is there already"):
        make_untrained(copy)
    assert load_model(copy)


def test_unknown_size(tmp_path):
    with pytest.raises(ValueError, match="tiny, 3b"):
        make_untrained(tmp_path / "out", size="large")
