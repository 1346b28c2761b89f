"""What is drawn from a mixture, and in which order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_training.runs.recipe import RecipeError
from spatial_mllm_training.sft.dataset import DataEntry, Mixture


@pytest.fixture(scope="module")
def mixture(questions):
    path = str(questions)
    return Mixture([DataEntry(path, weight=3.0), DataEntry(path, weight=1.0, split="test", answers="written")])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31 - 1), count=st.integers(0, 200), more=st.integers(0, 100))
def test_every_record_of_a_source_comes_once_before_any_comes_again(mixture, seed, count, more):
    drawn = mixture.draws(count, seed)
    assert (drawn == mixture.draws(count + more, seed)[:count]).all()
    for source, size in enumerate(mixture.sizes):
        rows = drawn[drawn[:, 0] == source, 1]
        for at in range(0, len(rows), size):
            part = rows[at : at + size]
            assert len(set(part.tolist())) == len(part) and set(part.tolist()) <= set(range(size))


def test_weights_are_shares_of_the_draws(mixture):
    share = (mixture.draws(20_000, 0)[:, 0] == 0).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 20_000)  # four standard errors


def test_without_weights_sizes_count(questions):
    mixture = Mixture([DataEntry(str(questions)), DataEntry(str(questions), split="test")])
    share = (mixture.draws(20_000, 0)[:, 0] == 0).mean()
    assert abs(share - 12 / 18) < 4 * np.sqrt(2 / 9 / 20_000)


def test_another_seed_draws_otherwise(mixture):
    assert (mixture.draws(50, 0) != mixture.draws(50, 1)).any()


def test_records_bring_the_ways_of_their_entry(mixture):
    assert mixture.read(1, 2)["answers"] == "written" and "answers" not in mixture.read(0, 2)
    assert "shown_as" not in mixture.read(1, 2)


def test_only_some_types_and_only_so_many(questions):
    mixture = Mixture([DataEntry(str(questions), types=["camera_vector", "not_observed"], limit=3)])
    kinds = [mixture.read(0, row)["question_type"] for row in range(len(mixture))]
    assert kinds == ["camera_vector", "not_observed", "camera_vector"]
    assert mixture.all().tolist() == [[0, 0], [0, 1], [0, 2]]


def test_what_is_described_is_hash_and_count(mixture, questions):
    known = mixture.describe()
    assert [value["records"] for value in known.values()] == [12, 6] and next(iter(known)) == f"0: {questions}"


def test_what_cannot_be(questions):
    with pytest.raises(RecipeError, match="expected one or more of"):
        Mixture([])
    with pytest.raises(RecipeError, match=r"data '.*' has no weight and another has: expected a weight for all, or"):
        Mixture([DataEntry(str(questions), weight=0.5), DataEntry(str(questions))])
    with pytest.raises(RecipeError, match="no records of unicorns"):
        Mixture([DataEntry(str(questions), types=["unicorns"])])
