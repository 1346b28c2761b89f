"""Balance against brute force: one row at a time to the bin that has least, and properties that must hold always."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.multispa.balance import cell_quotas, choose, quotas
from spatial_mllm_training.multispa.stats import add, plain, tally

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=12)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["depth", "camera", "not_observed"]),
        st.dictionaries(st.sampled_from(["overlap", "answer"]), st.integers(0, 3) | st.sampled_from(["A", "B"])),
    ),
    max_size=60,
)


def table_of(kinds, bins, ids=None):
    ids = [f"id{i}" for i in range(len(kinds))] if ids is None else ids
    texts = pa.array([json.dumps(cell) for cell in bins], pa.string())
    columns = {"id": pa.array(ids, pa.string()), "question_type": pa.array(kinds, pa.string()), "bins": texts}
    return pa.table(columns)


def histogram(table, rows):
    """Question type -> name of a histogram -> bin -> how many of these rows."""
    counts = tally()
    for row in table.take(rows).to_pylist():
        add(counts, row["question_type"], json.loads(row["bins"]))
    return plain(counts)


def one_by_one(available, total):
    """The row always goes to the bin that has least among those with rows left, the larger bin on ties."""
    shares = [0] * len(available)
    for _ in range(min(total, sum(available))):
        i = min(
            (i for i in range(len(available)) if shares[i] < available[i]), key=lambda i: (shares[i], -available[i], -i)
        )
        shares[i] += 1
    return shares


@given(COUNTS, st.integers(0, 500))
def test_quotas_are_those_of_giving_rows_one_by_one(available, total):
    assert quotas(np.array(available), total).tolist() == one_by_one(available, total)


def test_a_hand_worked_quota():
    # 90 over 4 bins: 22 each; the bin of 5 leaves 85 for three (28), the bin of 20 leaves 65 for two (32 and 33).
    assert quotas(np.array([100, 5, 20, 40]), 90).tolist() == [33, 5, 20, 32]


@given(COUNTS, st.integers(0, 500))
def test_one_histogram_gets_its_quotas_exactly(available, total):
    available, total = np.array(available), min(total, sum(available))
    assert cell_quotas(available, np.arange(len(available))[:, None], total).tolist() == one_by_one(available, total)


@given(st.lists(st.integers(0, 30), min_size=24, max_size=24), st.integers(0, 720))
def test_cells_give_what_is_wanted_and_never_more_than_they_hold(available, total):
    available, total = np.array(available), min(total, sum(available))
    codes = np.stack(np.unravel_index(np.arange(24), (2, 3, 4)), axis=1)
    share = cell_quotas(available, codes, total)
    assert share.sum() == total and (share >= 0).all() and (share <= available).all()


@given(st.lists(st.integers(30, 3000), min_size=24, max_size=24), st.integers(0, 696))
def test_all_histograms_are_even_where_there_is_enough(available, total):
    """Each cell holds its share, up to 29, and one more to round up to."""
    codes = np.stack(np.unravel_index(np.arange(24), (2, 3, 4)), axis=1)
    share = cell_quotas(np.array(available), codes, total)
    for code in codes.T:
        counts = np.bincount(code, share)
        assert np.ptp(counts) <= 3, "whole rows cannot be split among 24 cells"


def test_histograms_that_depend_on_each_other_are_all_evened():
    random = np.random.default_rng(0)
    overlap = np.clip(6 + random.exponential(8, 40000), 6, 34).astype(int)
    answer = np.where(random.random(40000) < 0.15 + 0.6 * (overlap > 12), "left", "right")
    letter = random.choice(list("ABCD"), 40000, p=[0.4, 0.3, 0.2, 0.1])
    bins = [{"overlap": int(o), "answer": str(a), "letter": str(x)} for o, a, x in zip(overlap, answer, letter)]
    table = table_of(["camera"] * 40000, bins)
    after = histogram(table, choose(table, 2900, 0, seed=0))["camera"]
    assert min(np.bincount(overlap)[6:]) >= 100, "so an even quota can be had"
    for name, even in (("overlap", 100), ("answer", 1450), ("letter", 725)):
        assert max(abs(count - even) for count in after[name].values()) <= 5, after[name]


def test_the_coarser_histogram_wins_where_both_cannot_be_even():
    # Eight places, all but one of them left of it: "right" must be even with "left" all the same.
    cells = [{"place": i, "answer": "left"} for i in range(7)] + [{"place": 7, "answer": "right"}]
    table = table_of(["camera"] * 800, [cell for cell in cells for _ in range(100)])
    after = histogram(table, choose(table, 140, 0, seed=0))["camera"]
    assert after["answer"] == {"left": 70, "right": 70}
    assert [after["place"][str(i)] for i in range(7)] == [10] * 7


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 20) | st.none(), st.floats(0, 0.9), st.integers(0, 2**63), st.randoms())
def test_any_table_gives_the_same_rows_in_any_order(rows, per_type, share, seed, random):
    kinds, bins = [kind for kind, _ in rows], [cell for _, cell in rows]
    chosen = choose(table_of(kinds, bins), per_type, share, seed)
    assert chosen.dtype == np.int64 and np.array_equal(chosen, np.unique(chosen))
    order = list(range(len(rows)))
    random.shuffle(order)
    # The keys of a JSON object have no order either, and a table may come in pieces.
    mixed = [dict(reversed(bins[i].items())) for i in order]
    table = table_of([kinds[i] for i in order], mixed, [f"id{i}" for i in order])
    cut = random.randint(0, len(rows))
    again = choose(pa.concat_tables([table.slice(0, cut), table.slice(cut)]), per_type, share, seed)
    assert sorted(order[i] for i in again) == chosen.tolist()
    counts = {kind: sum(kinds[i] == kind for i in chosen) for kind in {*kinds}}
    answered = 0
    for kind in {*kinds} - {"not_observed"}:
        assert counts[kind] == min(kinds.count(kind), per_type or len(rows))
        answered += counts[kind]
    if answered and "not_observed" in counts:
        assert counts["not_observed"] == min(kinds.count("not_observed"), round(answered * share / (1 - share)))


def test_the_share_of_refusals_is_of_the_whole():
    kinds = ["a"] * 300 + ["b"] * 60 + ["not_observed"] * 200
    rows = choose(table_of(kinds, [{}] * 560), 100, 0.2, seed=3)
    names, counts = np.unique([kinds[i] for i in rows], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist())) == {"a": 100, "b": 60, "not_observed": 40}


def test_refusals_alone_are_a_type_like_others():
    assert len(choose(table_of(["not_observed"] * 50, [{}] * 50), 20, 0.1, seed=0)) == 20


def test_the_seed_draws_other_rows_with_the_same_histograms():
    bins = [{"place": i % 7} for i in range(700)]
    table = table_of(["a"] * 700, bins)
    one, other = choose(table, 70, 0, seed=1), choose(table, 70, 0, seed=2)
    assert histogram(table, one) == histogram(table, other) == {"a": {"place": {str(i): 10 for i in range(7)}}}
    assert len({*one.tolist()} & {*other.tolist()}) < 35


def test_rows_are_drawn_evenly_from_ids_that_count_up():
    table = table_of(["a"] * 20000, [{}] * 20000, [f"room-{i:06d}" for i in range(20000)])
    rows = choose(table, 10000, 0, seed=5)
    halves = np.histogram(rows, bins=10, range=(0, 20000))[0]
    assert abs(halves - 1000).max() < 5 * np.sqrt(500), "ten standard bins of a fair draw"
    assert abs(np.sum(rows % 2) - 5000) < 250


def test_an_empty_table_gives_nothing():
    empty = table_of([], [])
    assert choose(empty, 5, 0.1, 0).tolist() == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(SpatialError, match="expected 0 to below 1"):
        choose(table_of(["a"], [{}]), 1, share, 0)


def test_less_than_one_question_is_refused():
    with pytest.raises(SpatialError, match="at least 1"):
        choose(table_of(["a"], [{}]), 0, 0.1, 0)
