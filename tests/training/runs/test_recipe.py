"""Recipes: strict reading, and what is said about what is wrong."""

from dataclasses import dataclass, fields

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.config import param
from spatial_mllm_training.runs.recipe import (
    RecipeError,
    RunRecipe,
    entries,
    load_recipe,
    make_recipe,
    mapping,
    recipe_yaml,
)


@dataclass(frozen=True)
class Part:
    path: str = param("", "a path")
    weight: float = param(1.0, "a share", low=0.0, high=10.0)


@dataclass(frozen=True)
class Recipe(RunRecipe):
    data: tuple[Part, ...] = entries(Part, "parts")
    rates: dict[str, float] = mapping({"all": 1.0}, "rates", low=0.0, high=2.0)  # noqa: RUF009
    names: list[str] = param(["a"], "names", choices=("a", "b"))  # noqa: RUF009


def test_defaults_and_what_a_file_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 7\nlearning_rate: 1e-4\ndata: [{path: x}, {path: y, weight: 2}]\nrates: {lora: 1e-3}\n")
    recipe = load_recipe(file, Recipe)
    assert (recipe.steps, recipe.learning_rate, recipe.batch) == (7, 1e-4, 1)
    assert recipe.data == (Part("x"), Part("y", 2.0)) and recipe.rates == {"lora": 1e-3} and recipe.names == ["a"]


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "empty.yaml").touch()
    assert load_recipe(tmp_path / "empty.yaml", Recipe) == Recipe()


def test_overrides(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 7\nrates: {lora: 0.5}\n")
    changes = ["steps=9", "rates.connector=2e-5", "data=[{path: z}]", "model=a/b", "names=[b]"]
    recipe = load_recipe(file, Recipe, changes)
    assert (recipe.steps, recipe.model, recipe.names) == (9, "a/b", ["b"])
    assert recipe.rates == {"lora": 0.5, "connector": 2e-5} and recipe.data == (Part("z"),)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stepz": 1}, "unknown field 'stepz'; did you mean 'steps'?"),
        ({"steps": 1.5}, "steps = 1.5: expected int, like 0"),
        ({"steps": True}, "steps = True: expected int"),
        ({"steps": -1}, "steps = -1: expected 0 to 100000000"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast': expected float, like 1e-05"),
        ({"learning_rate": float("nan")}, "learning_rate = nan: expected 0.0 to 10.0"),
        ({"schedule": "steep"}, "schedule = 'steep': expected one of cosine, linear, constant"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing = 1: expected bool"),
        ({"data": {"path": "x"}}, "data = {'path': 'x'}: expected a list"),
        ({"data": [{"pth": "x"}]}, "unknown field 'data[0].pth'; did you mean 'path'?"),
        ({"data": [{"weight": 11}]}, "data[0].weight = 11.0: expected 0.0 to 10.0"),
        ({"data": ["x"]}, "data[0] = 'x': expected fields and their values"),
        ({"rates": [1]}, "rates = [1]: expected names and their numbers"),
        ({"rates": {"a": 3}}, "rates.a = 3.0: expected 0.0 to 2.0"),
        ({"names": ["c"]}, "names = 'c': expected one of a, b"),
        ({"names": "a"}, "names = 'a': expected a list of names"),
        ({"log_every": 10, "checkpoint_every": 15}, "checkpoint_every = 15: expected a multiple of log_every, 10"),
        ({"epochs": 0}, "steps = 0 and epochs = 0"),
    ],
)
def test_what_is_wrong_is_named(values, said):
    with pytest.raises(RecipeError) as error:
        make_recipe(values, Recipe)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: [", "is no YAML"),
        ("- steps", "holds list"),
        ("\x00", "is no YAML"),
        ("[" * 2000, "is no YAML"),
        ("at: 2001-99-99", "is no YAML"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_recipe(tmp_path / "bad.yaml", Recipe)


def test_a_recipe_that_is_not_there_lists_those_that_are():
    with pytest.raises(RecipeError, match=r"recipe 'sft_huge': expected a YAML file or one of .*sft_tiny"):
        load_recipe("sft_huge", Recipe)


@pytest.mark.parametrize("change", ["steps", "=3", "rates.x.y=1", "steps=[", "stepz=3"])
def test_overrides_that_are_none(tmp_path, change):
    file = tmp_path / "mine.yaml"
    file.write_text("rates: {x: 1}\n")
    with pytest.raises(RecipeError):
        load_recipe(file, Recipe, [change])


@given(
    st.builds(
        Recipe,
        seed=st.integers(0, 2**31 - 1),
        learning_rate=st.floats(0, 10),
        model=st.text("ab/é '\"#:-", max_size=8),
        epochs=st.floats(0.1, 1e4),
        data=st.lists(st.builds(Part, st.text(max_size=5), st.floats(0, 10)), max_size=3).map(tuple),
        rates=st.dictionaries(st.text("ab", min_size=1), st.floats(0, 2), max_size=3),
    )
)
def test_what_is_written_reads_back(recipe):
    assert make_recipe(yaml.safe_load(recipe_yaml(recipe)), Recipe) == recipe


def test_every_field_is_documented():
    assert all(f.metadata.get("doc") for cls in (RunRecipe, Recipe) for f in fields(cls))


def test_shipped_recipes_are_named_where_there_is_no_such():
    with pytest.raises(RecipeError, match=r"a YAML file or one of cold_start, .*sft_connector, sft_lora, sft_tiny"):
        load_recipe("none", RunRecipe)
