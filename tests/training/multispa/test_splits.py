import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.multispa.splits import check_disjoint, place, shares, split_of


def test_the_share_of_places_that_are_for_testing():
    tests = sum(split_of(f"place {i}", 0.1) == "test" for i in range(20_000))
    assert 2000 - 4 * 42.4 < tests < 2000 + 4 * 42.4  # binomial, 4 standard deviations
    assert {split_of(f"{i}", 0.0) for i in range(100)} == {"train"}
    assert {split_of(f"{i}", 1.0) for i in range(100)} == {"test"}


def test_a_larger_share_takes_no_place_back():
    small = {i for i in range(500) if split_of(f"{i}", 0.1) == "test"}
    assert small < {i for i in range(500) if split_of(f"{i}", 0.3) == "test"}


def test_scans_of_one_room_stay_together():
    assert place("scannet", "scene0012_00", "a") == place("scannet", "scene0012_01", "b")
    assert place("scannet", "scene0012_00", "a") != place("scannet", "scene0013_00", "b")
    assert place("bag", "scene0012_00", "a") == place("bag", "another name", "a") == "a"


@given(st.integers(0, 10**7), st.integers(0, 2000), st.integers(0, 2000))
def test_shares_are_whole_and_complete(total, train, test):
    divided = shares(total, {"train": train, "test": test})
    assert sum(divided.values()) == (total if train + test else 0)
    for split, count in (("train", train), ("test", test)):
        assert abs(divided[split] - total * count / max(train + test, 1)) <= 0.5


def test_a_scene_in_both_splits():
    check_disjoint([("train", "bag/a", "1"), ("train", "bag/a", "1"), ("test", "bag/b", "2")])
    with pytest.raises(SpatialError, match="the scene bag/a would be in both train and test"):
        check_disjoint([("train", "bag/a", "1"), ("test", "bag/a", "2")])
    with pytest.raises(SpatialError, match="bag/a and scannet/b, which are the same scene,"):
        check_disjoint([("train", "bag/a", "1"), ("test", "scannet/b", "1")])
