"""Decoding on an encoded clip against the same model without any cache."""

from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.answering.decode import TextStream, Turn
from tests.closeness import assert_close, rounding

from .tiny_qwen import PREFIX, VOCABULARY, log_probabilities, make_model, read_clip, reader

QUESTIONS = [[7], [11, 12, 13, 14], [20, 7, 7, 21], [63, 0, 62]]


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def clip(model):
    return read_clip(model)


def greedy_without_cache(model, question: list[int], most: int) -> tuple[list[int], list[float]]:
    tokens, scores = [], []
    while len(tokens) < most:
        row = log_probabilities(model, question + tokens)[-1]
        tokens.append(int(row.argmax()))
        scores.append(float(row.max()))
    return tokens, scores


@torch.inference_mode()
def answer(model, clip, question: list[int], most: int, ends=(), **turn) -> tuple[list[int], list[float]]:
    with clip.lent():
        turn = Turn(reader(model), clip, **turn)
        got = list(turn.generate(turn.read(question)[0], ends, most))
    return [token for token, _ in got], [score for _, score in got]


def test_cached_answers_equal_uncached_ones_in_any_order(model, clip):
    expected = [greedy_without_cache(model, question, 12) for question in QUESTIONS]
    for i in (0, 1, 2, 3, 2, 0, 3, 1):
        tokens, scores = answer(model, clip, QUESTIONS[i], 12)
        assert tokens == expected[i][0]
        assert scores == pytest.approx(expected[i][1], abs=rounding(10))


def test_an_answer_longer_than_the_room_of_the_buffers(model, clip):
    tokens, _ = answer(model, clip, QUESTIONS[1], 300)
    assert tokens[:12] == greedy_without_cache(model, QUESTIONS[1], 12)[0]
    expected = log_probabilities(model, QUESTIONS[1] + tokens[:-1])[len(QUESTIONS[1]) - 1 :]
    assert tokens == expected.argmax(-1).tolist()


def test_an_end_token_ends_and_is_not_part_of_the_answer(model, clip):
    tokens, _ = answer(model, clip, QUESTIONS[1], 12)
    end = next(t for i, t in enumerate(tokens) if i and t not in tokens[:i])
    assert answer(model, clip, QUESTIONS[1], 12, ends={end})[0] == tokens[: tokens.index(end)]


def test_every_row_of_a_question(model, clip):
    with torch.inference_mode(), clip.lent():
        rows = Turn(reader(model), clip).read(QUESTIONS[2], rows=4)
    assert_close(rows, log_probabilities(model, QUESTIONS[2]))


@pytest.mark.parametrize("most", [0, 1, 2])
def test_tokens_are_bounded(model, clip, most):
    assert len(answer(model, clip, QUESTIONS[0], most)[0]) == most


@pytest.mark.parametrize("allowed", range(4))
def test_canceled_within_one_token(model, clip, allowed):
    calls = count()
    forwards = []
    hook = model.register_forward_pre_hook(lambda *_: forwards.append(1))
    try:
        with pytest.raises(SpatialError) as error:
            answer(model, clip, QUESTIONS[0], 12, stop=lambda: next(calls) >= allowed)
    finally:
        hook.remove()
    assert error.value.code == ErrorCode.CANCELED
    assert len(forwards) == allowed
    assert answer(model, clip, QUESTIONS[0], 6)[0] == greedy_without_cache(model, QUESTIONS[0], 6)[0]


@torch.inference_mode()
def test_likelihood_of_another_answer(model, clip):
    question, other = QUESTIONS[1], [9, 40, 9]
    rows = log_probabilities(model, question + other)
    expected = sum(float(rows[len(question) - 1 + i, token]) for i, token in enumerate(other)) / 3
    with clip.lent():
        turn = Turn(reader(model), clip)
        list(turn.generate(turn.read(question)[0], (), 5))
        assert turn.log_likelihood(question, other) == pytest.approx(expected, abs=rounding(10))
        turn.back_to(len(question))
        assert turn.ids == question and clip.cache.get_seq_length() == len(PREFIX) + len(question)
        row = turn.read([5])
        assert_close(row, log_probabilities(model, [*question, 5])[-1:])


def decode(tokens: list[int]) -> str:
    return bytes(tokens).decode("utf-8", "replace")


@given(st.text(max_size=12))
def test_text_never_shows_half_a_character(text):
    stream, shown = TextStream(decode), [""]
    for byte in text.encode():
        if stream.add(byte):
            shown.append(stream.text)
    assert stream.end() == text
    assert all(text.startswith(part) for part in shown)
    if "\ufffd" not in text:
        assert len(shown) == len(text) + 1


def test_bytes_that_never_become_a_character_show_at_the_end():
    stream = TextStream(decode)
    assert [stream.add(byte) for byte in b"a\xf0\x9f"] == [True, False, False]
    assert stream.text == "a"
    assert stream.end() == "a\ufffd"


def test_broken_bytes_before_good_ones():
    stream = TextStream(decode)
    assert [stream.add(byte) for byte in b"\xffok"] == [False, True, True]
    assert stream.end() == "\ufffdok"


@given(st.lists(st.sampled_from(["a", "bc", "é", " d", "漢"]), max_size=8), st.data())
def test_which_tokens_wrote_a_part(pieces, data):
    stream = TextStream(lambda ids: "".join(pieces[i] for i in ids))
    for i in range(len(pieces)):
        stream.add(i)
    text = stream.end()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    owner = [i for i, piece in enumerate(pieces) for _ in piece]
    assert list(stream.tokens_of(start, end)) == sorted(set(owner[start:end]))


def test_all_tokens_of_one_character_wrote_it():
    stream = TextStream(decode)
    for byte in "a漢b".encode():
        stream.add(byte)
    stream.end()
    assert [list(stream.tokens_of(i, i + 1)) for i in range(3)] == [[0], [1, 2, 3], [4]]


def test_the_vocabulary_is_what_the_tests_assume(model):
    assert max(max(q) for q in QUESTIONS) < VOCABULARY == model.lm_head.out_features
