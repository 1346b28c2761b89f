import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil
from transformers.processing_utils import TextKwargs

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import MEAN, STD, TRAINED_PIXELS, pack
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import count_tokens
from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import build_tokenizer
from spatial_mllm_ros.mllm.text.tokens import encode_text

SMALL = 56 * 56, 112 * 112
VIDEO, IMAGE = "<|vision_start|><|video_pad|><|vision_end|>", "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def processor():
    return SpatialMLLMProcessor(Qwen2VLImageProcessorPil(min_pixels=SMALL[0], max_pixels=SMALL[1]), build_tokenizer())


@pytest.fixture
def released(tmp_path, processor):
    """A folder with the files that Qwen2.5-VL checkpoints come with; the tokenizer as vocab.json and merges.txt."""
    state = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    merges = ["#version: 0.2", *(" ".join(pair) for pair in state["model"]["merges"])]
    fields = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = {str(token["id"]): {field: token[field] for field in fields} for token in state["added_tokens"]}
    files = {
        "config.json": {"model_type": "qwen2_5_vl"},
        "vocab.json": state["model"]["vocab"],
        "tokenizer_config.json": {
            "added_tokens_decoder": added,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "bos_token": None,
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen2_5_VLProcessor",
        },
        "preprocessor_config.json": {
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": list(MEAN),
            "image_std": list(STD),
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
        "chat_template.json": {"chat_template": "{# released #}" + str(processor.chat_template)},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(merges), "utf-8")
    return tmp_path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_video_and_image_in_a_batch(processor):
    clip, image = noise(5, 56, 84, 3), noise(84, 56, 3, seed=1)
    out = processor(
        text=[f"{VIDEO}Where?", f"a{IMAGE}"], videos=[clip], images=[image], padding=True, return_tensors="pt"
    )
    ids = out["input_ids"]
    assert ids.shape == out["attention_mask"].shape == out["mm_token_type_ids"].shape
    assert torch.equal(out["mm_token_type_ids"] == 2, ids == processor.video_token_id)
    assert torch.equal(out["mm_token_type_ids"] == 1, ids == processor.image_token_id)
    assert (ids == processor.video_token_id).sum(1).tolist() == [3 * 2 * 3, 0]  # 6 frames of 4 x 6 patches
    assert (ids == processor.image_token_id).sum(1).tolist() == [0, 6]
    assert out["attention_mask"][1].tolist() == sorted(out["attention_mask"][1].tolist())  # padded on the left
    assert out["video_grid_thw"].tolist() == [[3, 4, 6]] and out["image_grid_thw"].tolist() == [[1, 6, 4]]
    assert torch.equal(out["pixel_values_videos"], pack(clip, *SMALL)[0])
    assert torch.equal(out["pixel_values"], pack([image], *SMALL)[0])
    assert out["second_per_grid_ts"].tolist() == [1.0]
    assert set(out) <= set(processor.model_input_names)


def test_several_videos_in_their_order(processor):
    first, second = noise(2, 56, 56, 3), noise(4, 56, 84, 3)
    out = processor(text=f"{VIDEO}{VIDEO}", videos=[first, list(second)], fps=4.0)
    assert out["video_grid_thw"].tolist() == [[1, 4, 4], [2, 4, 6]]
    assert out["second_per_grid_ts"] == [0.5, 0.5]
    runs = "".join("v" if token == processor.video_token_id else "|" for token in out["input_ids"][0])
    assert [len(run) for run in runs.split("|") if run] == [4, 12]
    assert torch.equal(out["pixel_values_videos"], torch.cat([pack(first, *SMALL)[0], pack(second, *SMALL)[0]]))


def test_forms_of_a_clip_are_the_same(processor):
    clip = noise(3, 56, 84, 3)
    expected = processor(text=VIDEO, videos=clip)
    pictures = [Image.fromarray(frame) for frame in clip]
    for form in (list(clip), [clip], [list(clip)], [[clip]], clip[None], pictures, [pictures]):
        out = processor(text=VIDEO, videos=form)
        assert out["input_ids"] == expected["input_ids"]
        assert torch.equal(out["pixel_values_videos"], expected["pixel_values_videos"])


def test_limits_for_one_call(processor):
    out = processor(videos=noise(2, 480, 640, 3), min_pixels=28 * 28, max_pixels=56 * 56)
    assert out["video_grid_thw"].tolist() == [[1, 2, 4]] and "input_ids" not in out


@pytest.mark.skipif(
    "sanitize_control_tokens" not in TextKwargs.__annotations__,
    reason="processors of this transformers have no such guard",
)
def test_text_of_a_chat_is_text(processor):
    """apply_chat_template with transformers' own guard: a typed placeholder stays words. Nothing here relies on it."""
    content = [{"type": "video", "video": noise(2, 56, 56, 3)}, {"type": "text", "text": "What is <|video_pad|>?"}]
    out = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=True, return_dict=True, sanitize_control_tokens=True
    )
    assert out["input_ids"][0].count(processor.video_token_id) == 4
    assert "What is <|video_pad|>?" in processor.decode(out["input_ids"][0])


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "nothing to process"),
        ({"text": VIDEO}, r"1 video placeholder\(s\) in the text, but 0 video\(s\)"),
        ({"text": "hi", "videos": noise(2, 56, 56, 3)}, "0 video placeholder"),
        ({"text": IMAGE, "videos": noise(2, 56, 56, 3)}, "1 image placeholder"),
    ],
)
def test_text_and_pictures_must_match(processor, given, words):
    with pytest.raises(ValueError, match=words):
        processor(**given)


@pytest.mark.parametrize("videos", [[], [[]], np.zeros((0, 56, 56, 3), np.uint8)], ids=["none", "empty", "array"])
def test_no_frames(processor, videos):
    with pytest.raises(SpatialError, match="frames") as caught:
        processor(text=VIDEO, videos=videos)
    assert caught.value.code == ErrorCode.NO_FRAMES


def test_float_frames_are_refused(processor):
    with pytest.raises(SpatialError, match="float32; expected uint8"):
        processor(text=VIDEO, videos=np.zeros((2, 56, 56, 3), np.float32))


def test_saves_and_loads_without_a_hub(processor, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    processor.save_pretrained(tmp_path)
    loaded = SpatialMLLMProcessor.from_pretrained(tmp_path)
    clip = noise(4, 100, 60, 3)
    ours, theirs = (p(text=f"{VIDEO}hi", videos=clip, return_tensors="pt") for p in (processor, loaded))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert loaded.chat_template == processor.chat_template and loaded.pixels == SMALL


def test_loads_a_released_folder(released, processor):
    loaded = SpatialMLLMProcessor.from_pretrained(released)
    text = "How many chairs are left of the door?"
    assert loaded.pixels == (3136, 12845056)
    assert str(loaded.chat_template).startswith("{# released #}")
    assert encode_text(loaded.tokenizer, text) == encode_text(processor.tokenizer, text)
    assert loaded.video_token_id == processor.video_token_id


def test_scenes_have_the_trained_size_where_the_checkpoint_allows(released, processor):
    wide = SpatialMLLMProcessor.from_pretrained(released)
    assert wide.clip_pixels == TRAINED_PIXELS and processor.clip_pixels == SMALL
    values, grid = wide.pack_clip(noise(1, 240, 320, 3))
    height, width = (14 * int(n) for n in grid[0, 1:])
    assert TRAINED_PIXELS[0] <= height * width <= TRAINED_PIXELS[1]
    assert grid.shape == (1, 3) and values.shape == (4 * count_tokens(grid[0].tolist()), 1176)


def test_trained_size_without_a_preprocessor(released):
    (released / "preprocessor_config.json").unlink()
    assert SpatialMLLMProcessor.from_pretrained(released).pixels == TRAINED_PIXELS


def test_template_from_the_tokenizer_or_our_own(released, processor):
    (released / "chat_template.json").unlink()
    assert SpatialMLLMProcessor.from_pretrained(released).chat_template == processor.chat_template
    config = json.loads((released / "tokenizer_config.json").read_text("utf-8"))
    (released / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{# in the tokenizer #}"}))
    assert SpatialMLLMProcessor.from_pretrained(released).chat_template == "{# in the tokenizer #}"


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("patch_size", 16, "patch_size = 16: expected 14"),
        ("image_mean", [0.5, 0.5, 0.5], "image_mean = .* expected"),
        ("max_pixels", 3135, "pixels from 3136 to 3135: expected"),
        ("min_pixels", "few", "pixels from 'few' to"),
        ("min_pixels", 0, "pixels from 0 to"),
        ("min_pixels", 5_000_000, "the first at most 4000000"),
        ("image_mean", ["a", "b", "c"], "preprocessor_config.json: "),
        ("image_mean", [1e400, 0.5, 0.5], "image_mean = .* expected"),
        ("image_mean", [[0.5], [0.5, 0.5]], "preprocessor_config.json: "),
        ("image_std", {"a": 1}, "preprocessor_config.json: "),
        ("image_std", 10**400, "preprocessor_config.json: "),
        ("size", {"height": 3}, "processor"),
        ("patch_size", "many", "patch_size = many: expected 14"),
    ],
)
def test_other_patches_are_refused(released, key, value, words):
    config = json.loads((released / "preprocessor_config.json").read_text("utf-8"))
    (released / "preprocessor_config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(SpatialError, match=words):
        SpatialMLLMProcessor.from_pretrained(released)


@pytest.mark.parametrize("fault", ["missing", "damaged", "panics"])
def test_no_usable_tokenizer_is_said_without_a_path(released, processor, fault):
    for name in ("vocab.json", "merges.txt"):
        (released / name).unlink()
    if fault == "damaged":
        (released / "tokenizer.json").write_text("{", "utf-8")
    if fault == "panics":  # a prefix longer than its tokens: no Exception of Rust code, a BaseException
        state = json.loads(processor.tokenizer.backend_tokenizer.to_str())
        state["model"]["continuing_subword_prefix"] = "#" * 50
        (released / "tokenizer.json").write_text(json.dumps(state), "utf-8")
        config = json.loads((released / "tokenizer_config.json").read_text("utf-8"))
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # which takes the file as it is
        (released / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(SpatialError, match=r"no (usable processor|vocabulary).*expected .*tokenizer.json") as caught:
        SpatialMLLMProcessor.from_pretrained(released)
    assert str(released.parent) not in str(caught.value)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "chat_template.json"])
def test_a_damaged_file_is_no_missing_one(released, name):
    (released / name).write_text("{", "utf-8")
    with pytest.raises(SpatialError, match="expected") as caught:
        SpatialMLLMProcessor.from_pretrained(released)
    assert str(released.parent) not in str(caught.value)


def test_a_tokenizer_of_another_family_is_refused(released):
    config = json.loads((released / "tokenizer_config.json").read_text("utf-8"))
    added = {id: token for id, token in config["added_tokens_decoder"].items() if token["content"] != "<|video_pad|>"}
    (released / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": added}))
    with pytest.raises(SpatialError, match=r"the tokenizer has no <\|video_pad\|>"):
        SpatialMLLMProcessor.from_pretrained(released)
