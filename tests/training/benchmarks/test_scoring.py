"""Scores against closed forms and scipy, tables by hand."""

from math import inf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spatial_mllm_training.benchmarks.scoring import (
    Estimate,
    estimate,
    mean_relative_accuracy,
    pixel_error,
    relative_error,
    within_norm,
    within_width,
)
from spatial_mllm_training.benchmarks.tables import MACRO, MICRO, Row, Table, task_table


@pytest.mark.parametrize(
    ("value", "truth", "right"),
    [
        (1200, 1000, True),
        (800, 1000, True),
        (1201, 1000, False),
        (799.9, 1000, False),
        (-1000, 1000, False),
        (0.36, 0.3, True),  # the limit itself, although 0.3 * 0.2 is less than 0.06 in binary
        (0, 0, True),
        (1, 0, False),
        ((100, 0, 0), (80, 0, 0), False),
        ((3, 4, 1), (3, 4, 0), True),  # off by 1, norm 5
        ((3, 4, 1.1), (3, 4, 0), False),
        ((0, 0, 0), (0, 0, 0), True),
    ],
)
def test_within_a_fifth_of_the_norm(value, truth, right):
    assert within_norm(value, truth) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ((550, 500), True),
        ((551, 500), False),
        ((500, 566), True),  # of 640 x 480: 66 thousandths of 480 are 31.7 pixels, 5 % of 640 are 32
        ((500, 567), False),
        ((530, 553), True),  # 19.2 and 25.44 pixels: 31.9
        ((530, 554), False),  # 19.2 and 25.92 pixels: 32.3
    ],
)
def test_within_five_per_cent_of_the_width(value, right):
    assert within_width(value, (500, 500), (640, 480)) is right
    assert (pixel_error(value, (500, 500), (640, 480)) <= 0.05 + 1e-9) is right


def test_errors():
    assert relative_error((3, 4), (0, 0)) == inf and relative_error(0, 0) == 0
    assert relative_error((0, 0), (3, 4)) == 1 and relative_error(150, 100) == 0.5
    assert pixel_error((0, 1000), (0, 0), (640, 480)) == 0.75


@pytest.mark.parametrize(
    ("value", "truth", "wanted"),
    [
        (4, 4, 1.0),
        (3, 4, 0.5),  # an error of 0.25 is below 1 - theta for 0.50 to 0.70
        (5, 4, 0.5),
        (2, 4, 0.0),  # an error of 0.5 is not below 0.5
        (11, 10, 0.8),  # 0.1: theta up to 0.85
        (1.05, 1, 0.9),
        (1.049, 1, 1.0),
        (0, 4, 0.0),
        (-4, 4, 0.0),
        (9, 4, 0.0),
        (0, 0, 0.0),  # nothing is relative to zero
    ],
)
def test_mean_relative_accuracy(value, truth, wanted):
    assert mean_relative_accuracy(value, truth) == wanted


@given(st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_mean_relative_accuracy_is_the_formula(value, truth):
    error = abs(value - truth) / truth
    limits = 1 - np.linspace(0.5, 0.95, 10)
    if np.abs(error - limits).min() > 1e-9:
        assert mean_relative_accuracy(value, truth) == np.mean(error < limits)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10), (50, 400)])
def test_a_rate_has_wilsons_interval(right, n):
    found = estimate([1.0] * right + [0.0] * (n - right))
    z, p = stats.norm.ppf(0.975), right / n
    middle, half = p + z * z / 2 / n, z * sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    bounds = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    assert (found.value, found.n) == (p, n)
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-12)


def test_other_means_have_a_bootstrap_interval():
    values = np.random.default_rng(1).choice(np.linspace(0, 1, 11), 300)
    found = estimate(values)
    library = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=0).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((library.low, library.high), abs=0.006)
    assert estimate(values) == found != estimate(values, seed=1)


def test_means_of_means():
    found = estimate([[1.0, 1.0, 1.0, 0.0], [0.5], []])
    assert (found.value, found.n) == (0.625, 5)
    nested = estimate([[[1.0, 0.0], [0.0]], [[1.0]]])
    assert (nested.value, nested.n) == (0.625, 4)
    assert nested.low <= 0.625 <= nested.high


def test_strata_are_resampled_by_themselves():
    """Between tasks there is no chance: two certain tasks give a certain mean."""
    assert estimate([[1.0] * 50, [0.0] * 50]) == Estimate(0.5, 0.5, 0.5, 100)


def test_all_right_is_not_certain():
    """Resampling what is all the same would say so."""
    assert estimate([[1.0] * 6, [1.0] * 4]) == estimate([1.0] * 10)
    assert estimate([[[0.0] * 6], [[0.0] * 4]]).high == estimate([0.0] * 10).high > 0.2


def test_nothing_has_no_mean():
    assert isnan(estimate([]).value) and estimate([[], []]).n == 0


@pytest.mark.slow
def test_intervals_hold_what_they_say():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = estimate(random.beta(2, 1, 80))
        held += found.low <= 2 / 3 <= found.high
    assert 0.90 <= held / 300 <= 0.98


def test_a_table_of_tasks():
    types = ["a1", "a1", "a2", "b", "b", "b", "b"]
    scores = [{"x": float(v)} for v in (1, 1, 0, 1, 0, 0, 0)]
    table = task_table("Tasks", {"x": "share"}, types, scores, merged=lambda kind: kind[0], order=("b",))
    assert [(row.name, row.n, row.cells[0].value) for row in table.rows] == [
        ("b", 4, 0.25),
        ("a", 3, 0.5),  # the mean of 1 and 0, not 2 of 3
        (MICRO, 7, pytest.approx(3 / 7)),
        (MACRO, 7, 0.375),
    ]
    assert [row.total for row in table.rows] == [False, False, True, True]


def test_a_metric_that_does_not_apply_is_left_out():
    table = task_table("T", {"x": "", "y": ""}, ["a", "b"], [{"x": 1.0}, {"x": 0.0, "y": 1.0}])
    assert table.rows[0].cells[1] is None
    assert table.values()["rows"][0]["y"] is None and table.values()["rows"][2]["y"]["n"] == 1


def test_a_baseline_gets_a_column():
    table = Table("T", {"x": "", "y": ""}, [Row("a", 1, [Estimate(1.0), None]), Row("b", 1, [Estimate(0.5), None])])
    other = Table("T", {"z": "", "y": ""}, [Row("b", 1, [Estimate(0.1), Estimate(0.2)])])
    both = table.compared("chance", other, "y").compared("majority", other, "x")
    assert list(both.columns) == ["x", "y", "chance", "majority"] and both.against == ("chance", "majority")
    values = [
        [cell and cell.value for cell in row.cells[2:]] for row in both.rows
    ]  # their bounds are NaN, equal to none
    assert values == [[None, None], [0.2, 0.1]]
