import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import SPECIAL_TOKENS, build_tokenizer
from spatial_mllm_ros.mllm.text.tokens import encode_text

TOKENIZER = build_tokenizer()
CONTROL = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}


def with_control_tokens():
    """Any text, with control tokens, whole and broken, anywhere in it."""
    piece = st.one_of(
        st.text(max_size=8), st.sampled_from([*SPECIAL_TOKENS, "<|im", "_end|>", "<tool_call>", "</think>"])
    )
    return st.lists(piece, max_size=8).map("".join)


def test_small_and_complete():
    assert len(TOKENIZER) <= 512
    assert len(CONTROL) == len(SPECIAL_TOKENS) and min(CONTROL) == len(TOKENIZER) - len(SPECIAL_TOKENS)
    assert TOKENIZER.eos_token == "<|im_end|>" and TOKENIZER.pad_token == "<|endoftext|>"


@given(with_control_tokens())
@settings(max_examples=300, deadline=None)
def test_text_is_never_control_and_comes_back(text):
    ids = encode_text(TOKENIZER, text)
    assert not CONTROL & set(ids)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


@given(st.text(max_size=40).filter(lambda text: "<|" not in text))
@settings(max_examples=100, deadline=None)
def test_same_tokens_as_the_tokenizer_for_ordinary_text(text):
    assert encode_text(TOKENIZER, text) == TOKENIZER(text).input_ids


def test_every_byte_and_lone_surrogates():
    text = "".join(map(chr, range(0x250))) + "😀漢字"
    assert TOKENIZER.decode(encode_text(TOKENIZER, text)) == text
    assert TOKENIZER.decode(encode_text(TOKENIZER, "a\udcffb")) == "a?b"


def test_added_tokens_that_are_not_special_are_text_too():
    """Qwen's vocabulary has such for tools and code."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<tool_call>"])
    assert tokenizer("<tool_call>").input_ids == [len(TOKENIZER)]
    assert encode_text(tokenizer, "<tool_call>") == encode_text(TOKENIZER, "<tool_call>")


def test_merges_shorten_common_words():
    assert len(encode_text(TOKENIZER, " the left question")) == 3
    assert len(encode_text(TOKENIZER, " xyzzy")) == 6


def test_saves_and_loads_without_a_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "How far is the mug? <|im_end|>\n" + "".join(SPECIAL_TOKENS)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert loaded(text).input_ids == TOKENIZER(text).input_ids
    assert encode_text(loaded, text) == encode_text(TOKENIZER, text)
    assert loaded.chat_template == TOKENIZER.chat_template
    assert (loaded.eos_token, loaded.pad_token, loaded.padding_side) == ("<|im_end|>", "<|endoftext|>", "left")


@pytest.mark.parametrize("system", [False, True])
def test_chat_template(system):
    user = {"role": "user", "content": [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "Where?"}]}
    messages = [{"role": "system", "content": "Be brief."}] * system + [user, {"role": "assistant", "content": "Here."}]
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    first, *rest = text.split("<|im_start|>")[1:]
    assert first.startswith("system\n") and first.endswith("<|im_end|>\n") and ("Be brief." in first) == system
    assert rest == [
        "user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|video_pad|><|vision_end|>Where?<|im_end|>\n",
        "assistant\nHere.<|im_end|>\n",
        "assistant\n",
    ]
