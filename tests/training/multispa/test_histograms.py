"""Histograms: which bins are drawn, and how large."""

import re

import pytest

from spatial_mllm_training.multispa.histograms import bars, bins_of


def test_bars_are_as_tall_as_their_shares():
    chart = bars({"A": 30, "B": 10}, {"A": 1, "B": 1}, "letters & more")
    heights = [float(h) for h in re.findall(r'<rect class="\w+" [^>]*height="([\d.]+)"', chart)]
    assert heights == pytest.approx([114, 76, 38, 76], abs=0.1)
    assert "letters &amp; more" in chart and "A: 30 before" in chart and "75 %" in chart


def test_bars_with_long_names_lie_down_and_are_as_long_as_their_shares():
    chart = bars(
        {"correspondence_coordinate": 3, "<short>": 1}, {"a name that is much too long to be shown": 1}, "asks"
    )
    lengths = [float(length) for length in re.findall(r'width="([\d.]+)"', chart)]
    assert lengths == pytest.approx([165, 0, 55, 0, 0, 220], abs=0.1)
    assert ">correspondence_coordinate<" in chart and ">&lt;short&gt;<" in chart
    assert ">a name that is much too lon…<" in chart and "too long to be shown: 1 after" in chart


@pytest.mark.parametrize(
    "before, after, names",
    [
        ({"6": 1, "9": 1}, {"7": 1}, ["6", "7", "8", "9"]),
        ({"-1": 1, "1": 1}, {}, ["-1", "0", "1"]),
        ({"100": 1, "2000": 1}, {}, ["100", "2000"]),
        ({"left": 1}, {"right": 1}, ["left", "right"]),
        ({}, {}, []),
    ],
)
def test_bins(before, after, names):
    assert bins_of(before, after) == names


def test_of_many_bins_the_fullest_are_drawn():
    counts = {f"label {i:03d}": i for i in range(500)}
    assert bins_of(counts, {}) == [f"label {i}" for i in range(460, 500)]
    assert bars({}, {}, "nothing").startswith("<svg")
