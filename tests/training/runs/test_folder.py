"""A run's folder: begun once, gone on with by the same run alone."""

import json

import pytest

from spatial_mllm_ros.errors import ErrorCode
from spatial_mllm_training.runs.folder import RunError, RunFolder
from spatial_mllm_training.runs.recipe import RunRecipe

DATA = {"questions": {"hash": "1f", "records": 3}}


def checkpoint(folder, step, whole=True):
    place = folder / f"checkpoint-{step}"
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"weights")
    if whole:
        (place / "whole").touch()
    return place


def begun(path, stop=True, **options):
    folder = RunFolder(path)
    folder.open(RunRecipe(steps=5), DATA, **options)
    if stop:
        folder.state("stopped")
    return folder


def test_what_a_new_folder_holds(tmp_path):
    folder = begun(tmp_path / "run", stop=False, processes=2)
    assert "steps: 5" in (folder.path / "recipe.yaml").read_text()
    assert json.loads((folder.path / "data.json").read_text()) == DATA
    assert json.loads((folder.path / "run.json").read_text()) == {"state": "running", "processes": 2}
    assert {"python", "torch", "transformers", "trl", "spatial_mllm_ros"} <= json.loads(
        (folder.path / "versions.json").read_text()
    ).keys()
    assert folder.newest() is None and not folder.finished


def test_the_newest_whole_checkpoint_counts_and_half_ones_go(tmp_path):
    begun(tmp_path / "run")
    for step in (2, 10, 9):
        checkpoint(tmp_path / "run", step)
    half = checkpoint(tmp_path / "run", 11, whole=False)
    folder = begun(tmp_path / "run")
    assert folder.newest() == folder.path / "checkpoint-10" and not half.exists()


def test_only_the_newest_are_kept(tmp_path):
    folder = begun(tmp_path / "run")
    for step in (8, 9, 10):
        checkpoint(folder.path, step)
    folder.keep(2)
    assert sorted(p.name for p in folder.path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-9"]


@pytest.mark.parametrize(
    ("recipe", "data", "processes", "said"),
    [
        (RunRecipe(steps=6), DATA, 1, "steps 5, not 6"),
        (RunRecipe(steps=5), {"questions": {"hash": "2e", "records": 3}}, 1, "other data (questions)"),
        (RunRecipe(steps=5), DATA, 2, "1 processes, not 2"),
    ],
)
def test_another_run_is_refused_unless_the_old_one_is_given_up(tmp_path, recipe, data, processes, said):
    begun(tmp_path / "run")
    checkpoint(tmp_path / "run", 4)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunError) as error:
        RunFolder(tmp_path / "run").open(recipe, data, processes)
    assert said in str(error.value) and "--overwrite" in str(error.value)
    folder = RunFolder(tmp_path / "run")
    folder.open(recipe, data, processes, overwrite=True)
    assert folder.newest() is None and (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_run_from_before_a_field_goes_on_with_its_default(tmp_path):
    begun(tmp_path / "run")
    file = tmp_path / "run" / "recipe.yaml"
    file.write_text("".join(line for line in file.open() if not line.startswith("beta2:")))
    begun(tmp_path / "run")
    file.write_text("".join(line for line in file.open() if not line.startswith("beta2:")))
    with pytest.raises(RunError, match=r"holds a run with beta2 0.999, not 0.9: expected another folder"):
        RunFolder(tmp_path / "run").open(RunRecipe(steps=5, beta2=0.9), DATA)


def test_a_run_that_was_killed_before_it_had_begun_begins(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    assert begun(tmp_path / "run", stop=False).newest() is None and (tmp_path / "run" / "recipe.yaml").is_file()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="no run's folder"):
        RunFolder(tmp_path / "photos").open(RunRecipe(), DATA, overwrite=True)
    assert (tmp_path / "photos" / "config.json").exists()


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    first = begun(tmp_path / "run", stop=False)
    with pytest.raises(RunError, match="another process is training") as error:
        begun(tmp_path / "run")
    assert error.value.code == ErrorCode.BUSY
    first.state("stopped")
    begun(tmp_path / "run")


def test_a_finished_run_stays_finished(tmp_path):
    begun(tmp_path / "run").state("finished", steps=5)
    folder = begun(tmp_path / "run", stop=False)
    assert folder.finished and json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 5


@pytest.mark.parametrize("text", ["[" * 2000, "- steps", "at: 2001-99-99", "{"])
def test_a_run_whose_recipe_cannot_be_read_is_another_one(tmp_path, text):
    begun(tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_text(text)
    with pytest.raises(RunError, match=r"recipe\.yaml cannot be read: expected another folder, or --overwrite"):
        RunFolder(tmp_path / "run").open(RunRecipe(steps=5), DATA)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{"])
def test_data_of_a_run_that_cannot_be_read_are_others(tmp_path, text):
    begun(tmp_path / "run")
    (tmp_path / "run" / "data.json").write_text(text)
    with pytest.raises(RunError, match="holds a run with other data"):
        RunFolder(tmp_path / "run").open(RunRecipe(steps=5), DATA)
