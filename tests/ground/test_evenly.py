"""Some of many, spread evenly: against exact fractions, and a stream against what a list of all of it would give."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.evenly import Thinned, evenly


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_each_is_where_equal_gaps_would_put_it_but_for_rounding(count, most):
    chosen = evenly(count, most)
    assert len(chosen) == min(count, most) and chosen == sorted(set(chosen))
    gap = Fraction(count - 1, len(chosen) - 1) if len(chosen) > 1 else 0
    assert all(abs(place - i * gap) <= Fraction(1, 2) + Fraction(1, 10**9) for i, place in enumerate(chosen))


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(2, 1, [0]), (3, 1, [0]), (4, 2, [0, 3]), (9, 4, [0, 3, 5, 8]), (7, 4, [0, 2, 4, 6]), (3, 8, [0, 1, 2])],
)
def test_chosen_by_hand(count, most, chosen):
    assert evenly(count, most) == chosen


@given(st.integers(1, 40), st.integers(0, 300))
def test_a_stream_is_thinned_as_little_as_its_limit_allows(limit, count):
    stream: Thinned[int] = Thinned(limit)
    for i in range(count):
        kept = stream.wants_next()
        stream.add(i) if kept else stream.skip()
        every = next(2**n for n in range(20) if len(range(0, i + 1, 2**n)) <= limit)
        assert stream.items == list(range(0, i + 1, every)) and stream.every == every
        assert kept or i not in stream.items


def test_a_stream_of_unknown_length_gives_as_many_as_are_wanted():
    stream: Thinned[int] = Thinned(16)
    for i in range(40):
        stream.add(i)
    assert stream.items == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert stream.pick(4) == [0, 12, 24, 36] and stream.pick(99) == stream.items
