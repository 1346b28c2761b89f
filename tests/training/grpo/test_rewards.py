"""Rewards against cases worked out by hand, their bounds, and what they are in TRL's hands."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.benchmarks.reading import KINDS
from spatial_mllm_training.grpo.rewards import (
    SCORES,
    RewardRecipe,
    closeness,
    edit_distance,
    edit_similarity,
    item_of,
    mean_relative,
    overlong,
    right,
    well_formed,
    wrong_refusal,
)

from .records import DEPTH, LETTER, OTHER, PIXEL, UNSEEN, VECTOR, WORD, YAW, record

ALL = (DEPTH, YAW, VECTOR, PIXEL, WORD, LETTER, UNSEEN, OTHER)
SAID = st.one_of(
    st.text(max_size=40),
    st.text("<>/thinkanswer 0123456789mB,()", max_size=40),
    st.sampled_from(["2000 mm", "2 m", "not visible", "left", "B", "(300, 0, -400) mm", "(500, 500)", "<think>", "-1"]),
    st.floats(allow_nan=False).map(lambda value: f"{value} mm"),
)


@pytest.mark.parametrize(
    ("asked", "said", "reward"),
    [
        (DEPTH, "2400 mm", 1),  # the limit of 20 % itself
        (DEPTH, "2.4 m", 1),
        (DEPTH, "2401 mm", 0),
        (DEPTH, "<think>far</think><answer>1600 mm</answer>", 1),
        (DEPTH, "<answer>1600 mm", 0),  # cut off
        (DEPTH, "not visible", 0),
        (VECTOR, "(300, 0, -300) mm", 1),  # off by 100, norm 500
        (VECTOR, "(300, 0, -299) mm", 0),
        (PIXEL, "(550, 500)", 1),
        (PIXEL, "(551, 500)", 0),
        (WORD, "left", 1),
        (WORD, "right", 0),
        (LETTER, "B", 1),
        (LETTER, "A or B", 0),
        (UNSEEN, "Not visible.", 1),
        (UNSEEN, "2000 mm", 0),
        (OTHER, "A brown box.", 1),
        (OTHER, "a box", 0),
    ],
)
def test_right_as_the_benchmark_says(asked, said, reward):
    assert right(item_of(asked), said) == reward


@pytest.mark.parametrize(
    ("said", "reward"),
    [
        ("2000 mm", 1.0),
        ("2100 mm", 0.9),  # 5 % is not less than 5 %: all but the last of ten levels
        ("1.5 m", 0.5),  # 25 %: below 50, 45, 40, 35 and 30 %
        ("3 m", 0.0),
        ("somewhere", 0.0),
        ("not visible", 0.0),
    ],
)
def test_mean_relative_accuracy_in_tenths(said, reward):
    assert mean_relative(item_of(DEPTH), said) == reward


@pytest.mark.parametrize(
    ("asked", "said", "reward"),
    [
        (DEPTH, "2000 mm", 1.0),
        (DEPTH, "2400 mm", 0.5),  # where the benchmark's rule ends
        (DEPTH, "2800 mm", 0.2),  # twice as far: 1 / (1 + 4)
        (VECTOR, "(300, 0, -100) mm", 0.1),  # 300 of 500, three times the limit: 1 / (1 + 9)
        (PIXEL, "(600, 500)", 0.2),
        (PIXEL, "nowhere", 0.0),
    ],
)
def test_closeness_is_half_where_right_ends(asked, said, reward):
    assert closeness(item_of(asked), said) == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "reward"),
    [
        ("a brown box", 1.0),
        ("<think>hm</think><answer>A brown box.</answer>", 1.0),
        ("a brown fox", 10 / 11),
        ("a box", 5 / 11),
        ("it cannot be seen", 0.0),
        ("", 0.0),
    ],
)
def test_edit_similarity(said, reward):
    assert edit_similarity(item_of(OTHER), said) == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "steps"), [("kitten", "sitting", 3), ("", "abc", 3), ("flaw", "lawn", 2), ("", "", 0)]
)
def test_edit_distance(a, b, steps):
    assert edit_distance(a, b) == edit_distance(b, a) == steps


@given(st.text("ab", max_size=8), st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_edit_distance_is_a_distance(a, b, c):
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@pytest.mark.parametrize(
    ("said", "reward"),
    [
        ("<think>The dot is far.</think><answer>2 m</answer>", 1),
        (" <think>a\nb</think>\n<answer>B</answer>\n", 1),
        ("<answer>B</answer>", 0),
        ("<think>a</think>B", 0),
        ("<think></think><answer>B</answer>", 0),
        ("<think>a</think><answer> </answer>", 0),
        ("<think>a</think><answer>B</answer> indeed", 0),
        ("<think>a</think><think>b</think><answer>B</answer>", 0),
        ("<answer>B</answer><think>a</think>", 0),
        ("<think>a</think><answer>B", 0),
    ],
)
def test_form(said, reward):
    assert well_formed(said) == reward


def test_refusing_costs_only_where_there_is_an_answer():
    assert wrong_refusal(item_of(DEPTH), "It is not visible.") == -1
    assert wrong_refusal(item_of(DEPTH), "2 m") == 0
    assert wrong_refusal(item_of(UNSEEN), "It is not visible.") == 0


@pytest.mark.parametrize(("tokens", "reward"), [(0, 0), (100, 0), (125, -0.5), (140, -0.8), (150, -1), (400, -1)])
def test_length(tokens, reward):
    assert overlong(tokens, 100, 150) == pytest.approx(reward)


@given(st.sampled_from(ALL), SAID)
def test_every_score_is_within_its_bounds(asked, said):
    item = item_of(asked)
    for score, kinds in SCORES.values():
        if item.kind in kinds and asked is not UNSEEN:
            assert 0 <= score(item, said) <= 1
    assert RewardRecipe().score(item)(item, said) in (0.0, 1.0) or item.kind in ("scalar", "text")
    assert well_formed(said) in (0, 1)
    assert wrong_refusal(item, said) in (0, -1)


@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 100))
def test_length_only_falls(tokens, free, more):
    limit = free + more
    assert -1 <= overlong(tokens + 1, free, limit) <= overlong(tokens, free, limit) <= 0


@given(st.floats(0, 5000), st.floats(0, 5000))
def test_closer_is_worth_more(a, b):
    a, b = round(a, 3), round(b, 3)
    near, far = sorted((a, b), key=lambda value: abs(value - 2000))
    for score in (right, mean_relative, closeness):
        assert score(item_of(DEPTH), f"{near} mm") >= score(item_of(DEPTH), f"{far} mm")


def test_the_score_is_chosen_by_the_kind_of_answer():
    recipe = RewardRecipe(score_vector="closeness", score_scalar="right")
    scores = [recipe.score(item_of(asked)) for asked in (DEPTH, VECTOR, PIXEL, WORD, UNSEEN, OTHER)]
    assert scores == [right, closeness, right, right, right, edit_similarity]


def test_functions_take_columns_as_trl_gives_them():
    recipe = RewardRecipe(weight_answer=2, weight_length=1, free_tokens=10, max_tokens=20)
    functions = recipe.functions()
    assert [(function.__name__, weight) for function, weight in functions] == [
        ("answer", 2),
        ("form", 1),
        ("refusal", 0.5),
        ("length", 1),
    ]
    said = ["<think>a</think><answer>2 m</answer>", "not visible", "2.5 m"]
    columns = {"completions": said, "record": [DEPTH] * 3, "completion_ids": [[1] * 10, [1] * 15, [1] * 20]}
    got = [function(prompts=["?"] * 3, trainer_state=None, **columns) for function, _ in functions]
    assert got == [[1.0, 0.0, 0.5], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, -0.5, -1.0]]


def test_weights_of_zero_and_short_answers_leave_functions_out():
    recipe = RewardRecipe(weight_refusal=0, reasoning=False)
    assert [function.__name__ for function, _ in recipe.functions()] == ["answer"]


def test_records_of_other_sources():
    choice = OTHER | {"meta": {"options": ["a chair", "a desk"]}, "gt_value": "B"}
    assert item_of(choice).kind == "choice"
    assert right(item_of(choice), "B. a desk") == 1
    number = OTHER | {"gt_value": 3}
    assert mean_relative(item_of(number), "three") == 1
    thought = OTHER | {
        "conversations": [OTHER["conversations"][0], {"from": "gpt", "value": "<think>x</think><answer>a cup</answer>"}]
    }
    assert edit_similarity(item_of(thought), "a cup") == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (OTHER | {"conversations": OTHER["conversations"][:1]}, "record scanqa-1: expected a question and its answer"),
        (OTHER | {"meta": {"options": ["x", "y"]}, "gt_value": "z"}, "'z' is none of its options x, y"),
        (record("depth_estimation_dot", "scalar", "far"), "'far' is no answer"),
    ],
)
def test_records_without_an_answer_say_so(broken, message):
    with pytest.raises(SpatialError, match=message):
        item_of(broken)


def test_the_limit_of_closeness_is_that_of_the_benchmark():
    width = 640
    edge = (500 + 1000 * 0.05 / sqrt(2), 500 + 1000 * 0.05 / sqrt(2) * width / 480)
    assert closeness(item_of(PIXEL), f"({edge[0]:.0f}, {edge[1]:.0f})") == pytest.approx(0.5, abs=0.02)
    assert set(KINDS) == {kind for _, kinds in SCORES.values() for kind in kinds}
