"""The probability of a refusal against an answer."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.answering.refusal import probability

SCORES = st.floats(-1e4, 0)


def test_equally_likely():
    assert probability(-3.0, -3.0) == 0.5


@pytest.mark.parametrize(("answer", "refusal"), [(0.9, 0.1), (0.2, 0.6), (1.0, 1e-6)])
def test_share_of_the_mean_probabilities(answer, refusal):
    assert probability(log(answer), log(refusal)) == pytest.approx(refusal / (answer + refusal))


@given(SCORES, SCORES)
def test_both_sides_make_one(a, b):
    assert probability(a, b) + probability(b, a) == pytest.approx(1)
    assert 0 <= probability(a, b) <= 1


@given(SCORES, SCORES, st.floats(0, 100))
def test_only_the_difference_counts(a, b, shift):
    assert probability(a - shift, b - shift) == pytest.approx(probability(a, b), rel=1e-6, abs=1e-12)


def test_texts_too_unlikely_for_a_float():
    assert probability(-2000.0, -2001.0) == pytest.approx(exp(-1) / (1 + exp(-1)))
