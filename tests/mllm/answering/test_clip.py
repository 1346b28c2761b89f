"""Encoded clips: their memory, what is dropped first, and that questions leave no trace."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from spatial_mllm_ros.mllm.answering.clip_cache import ClipCache
from spatial_mllm_ros.mllm.answering.decode import Turn
from spatial_mllm_ros.mllm.families.clip import EncodedClip
from tests.closeness import assert_close

from .tiny_qwen import PREFIX, log_probabilities, make_model, read_clip, reader


@pytest.fixture(scope="module")
def model():
    return make_model()


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 600)), max_size=8))
def test_a_cache_holds_what_was_appended_and_not_rewound(steps):
    cache, expected = DynamicCache(), torch.zeros(1, 2, 0, 3)
    for count, length in steps:
        new = torch.randn(1, 2, count, 3)
        expected = torch.cat([expected, new], dim=2)
        keys, values = cache.update(new, -new, 0)
        assert torch.equal(keys, expected) and torch.equal(values, -expected)
        EncodedClip(cache, 0, 0, ()).rewind(length)
        expected = expected[:, :, :length]
        assert cache.get_seq_length() == expected.shape[2]


def test_what_is_forgotten_is_counted_as_long_as_it_takes_memory():
    cache = DynamicCache()
    clip = EncodedClip(cache, 10, 0, ())
    cache.update(torch.ones(1, 2, 10, 4), torch.ones(1, 2, 10, 4), 0)
    cache.update(torch.ones(1, 2, 20, 4), torch.ones(1, 2, 20, 4), 0)
    clip.rewind()
    assert clip.nbytes == 2 * (2 * 30 * 4) * 4
    cache.update(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4), 0)
    assert clip.nbytes == 2 * (2 * 11 * 4) * 4


def test_bytes_of_a_clip(model):
    text = model.config.text_config
    a_token = 2 * text.num_hidden_layers * text.num_key_value_heads * (text.hidden_size // text.num_attention_heads) * 4
    assert read_clip(model).nbytes == len(PREFIX) * a_token


@torch.inference_mode()
def test_an_exception_in_the_middle_of_a_forward_leaves_no_trace(model):
    clip = read_clip(model)
    question = [7, 8, 9]

    def fail(*_):
        raise RuntimeError("out of nothing")

    hook = model.model.language_model.layers[1].register_forward_pre_hook(fail)  # layer 0 has read the question by then
    try:
        with pytest.raises(RuntimeError, match="out of nothing"), clip.lent():
            Turn(reader(model), clip).read(question)
    finally:
        hook.remove()
    assert [clip.cache.get_seq_length(layer) for layer in range(2)] == [len(PREFIX)] * 2
    with clip.lent():
        again = Turn(reader(model), clip).read(question)
    assert_close(again, log_probabilities(model, question)[-1:])


@dataclass
class Block:
    nbytes: int


def test_the_least_recently_used_clip_goes_first():
    clips = ClipCache(100)
    clips.put("a", Block(40))
    clips.put("b", Block(40))
    assert clips.use("a") is not None
    clips.put("c", Block(40))
    assert ("a" in clips, "b" in clips, "c" in clips) == (True, False, True)
    assert clips.nbytes == 80 and clips.use("b") is None


def test_the_latest_clip_stays_even_where_nothing_fits():
    clips = ClipCache(0)
    clips.put("a", Block(1))
    assert "a" in clips
    clips.put("b", Block(5))
    assert "a" not in clips and "b" in clips


def test_clips_that_grew_are_trimmed():
    clips = ClipCache(100)
    clips.put("a", Block(40))
    clips.put("b", grows := Block(40))
    grows.nbytes = 61
    clips.trim()
    assert "a" not in clips and "b" in clips


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 60)), max_size=30), st.integers(0, 100))
def test_against_a_list_ordered_by_use(puts, bound):
    clips = ClipCache(bound)
    order: list[tuple[int, int]] = []
    for key, size in puts:
        clips.put(key, Block(size))
        order = [(k, s) for k, s in order if k != key] + [(key, size)]
        while len(order) > 1 and sum(s for _, s in order) > bound:
            order.pop(0)
        assert {k for k in range(7) if k in clips} == {k for k, _ in order}
        assert len(clips) == len(order)
