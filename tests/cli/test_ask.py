"""``ask``, ``join``, ``sample --model`` and ``report --ask``, with a model that knows nothing.

Once as a process, as people run it; else in this one, so that torch is imported once.
"""

import json
import shutil

import cv2
import numpy as np
import pytest

from tests.cli.test_commands import error_of, run, without_module

pytest.importorskip("torch", reason="needs torch (make setup, or the extra mllm)")
pytest.importorskip("transformers", reason="needs transformers (the extra mllm)")
ASK = ["--frames", 4, "--max-tokens", 8, "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Nine frames that differ from one another, as a video."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (112, 84))
    for picture in pictures(9):
        video.write(picture)
    video.release()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    for i, picture in enumerate(pictures(3)):
        cv2.imwrite(str(path / f"{i}.png"), picture)
    return path


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (112, 84)) for _ in range(count)]


def test_a_recording_is_asked_about_the_frames_that_cover_it(call, model, simulated_bag, tmp_path):
    call("sample", simulated_bag, "--k", 4, "--json", tmp_path / "sample.json")
    selected = {(f["stamp_ns"], f["camera"]) for f in json.loads((tmp_path / "sample.json").read_text())["frames"]}
    command = ["ask", simulated_bag, "How wide is it?", "--model", model, "--type", "number", *ASK]
    values = json.loads(run(*command, "--not-observed", 0, "--json", code=3).stdout)
    evidence = [(e["stamp_ns"], e["camera"]) for e in values["evidence"]]
    assert set(evidence) == selected and evidence == sorted(evidence)
    assert values["question"] == {
        "text": "How wide is it?",
        "options": [],
        "answer_type": "number",
        "with_reasoning": False,
    }
    assert 0 <= values["answer"]["confidence"] <= 1


def test_choices_are_always_chosen_where_refusing_is_off(call, model, film):
    options = ["--option", "left", "--option", "right", "--not-observed", 1]
    values = json.loads(call("ask", film, "Left or right?", "--model", model, *options, *ASK, "--json").stdout)
    answer = values["answer"]
    assert answer["verdict"] == "answered" and answer["choice"] in (0, 1)
    assert answer["text"] == ["left", "right"][answer["choice"]] and answer["confidence"] >= 0.5
    stamps = [e["stamp_ns"] for e in values["evidence"]]
    assert len(stamps) == 4 and stamps[0] == 0 and stamps[-1] == 800_000_000


def test_refusing_always_is_not_observed(call, model, folder):
    done = call("ask", folder, "What is it?", "--model", model, "--not-observed", 0, *ASK, code=3)
    assert "not observed" in done.stdout and "\x1b" not in done.stdout
    table = done.stdout.split("stamp, s")[1]
    assert all(stamp in table for stamp in ("0.000", "0.033", "0.067"))


def test_sampling_by_the_models_own_geometry(call, model, film, tmp_path):
    call("sample", film, "--k", 3, "--model", model, "--device", "cpu", "--json", tmp_path / "out.json")
    out = json.loads((tmp_path / "out.json").read_text())
    gains = [f["gain"] for f in out["frames"]]
    assert 1 <= len(gains) <= 3 and gains == sorted(gains, reverse=True)
    assert sum(gains) == out["voxels_covered"] <= out["voxels_seen"]
    ask = ["ask", film, "What is it?", "--model", model, "--frames", 3, "--max-tokens", 4, "--not-observed", 0]
    values = json.loads(call(*ask, "--space-aware", "--json", code=3).stdout)
    assert {e["stamp_ns"] for e in values["evidence"]} == {f["stamp_ns"] for f in out["frames"]}


def test_no_more_frames_are_shown_than_the_model_was_trained_with_and_it_is_said(call, model, film, tmp_path):
    trained = shutil.copytree(model, tmp_path / "model")
    (trained / "calibration.json").write_text('{"max_frames": 2, "reasoning": false}')
    ask = ["ask", film, "Left or right?", "--model", trained, "--option", "left", "--option", "right"]
    ask += [*ASK, "--not-observed", 1, "--reasoning", "--json"]
    values = json.loads(call(*ask).stdout)
    assert [e["stamp_ns"] for e in values["evidence"]] == [0, 800_000_000]
    assert values["answer"]["note"] == (
        "answered without reasoning, which the model was not trained for;"
        " shown 2 frames, not 4: the model was trained with no more"
    )


def test_what_looks_like_markup_is_shown_as_it_is(call, model, film):
    options = ["--option", "[/green]", "--option", "[/green] too", "--not-observed", 1]
    said = call("ask", film, "Which [b]?", "--model", model, *options, *ASK).stdout
    assert "[/green]" in said and "answered" in said


def test_the_report_shows_answers_new_and_old(call, model, simulated_bag, tmp_path):
    pytest.importorskip("jinja2")
    ask = ["ask", simulated_bag, "What was it?", "--model", model, "--not-observed", 0, *ASK, "--json"]
    (tmp_path / "old.json").write_text(call(*ask, code=3).stdout)
    page = tmp_path / "page.html"
    command = ["report", simulated_bag, "--out", page, "--k", 3, "--answers", tmp_path / "old.json"]
    call(*command, "--ask", "What is it now?", "--model", model)
    text = page.read_text()
    assert "What was it?" in text and "What is it now?" in text
    assert text.index("What was it?") < text.index("What is it now?")
    assert "not in this recording" not in text


def test_join_refuses_what_does_not_fit_and_writes_nothing(call, model, tmp_path):
    assert error_of(call("join", model, model, tmp_path / "out", code=1))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_said_in_one_line_and_writes_nothing(call, model, tmp_path):
    pytest.importorskip("onnxscript")
    out = tmp_path / "out"
    assert "multiples of 28" in error_of(call("export", model, "--out", out, "--size", "100x140", code=1))
    assert "expected MIN:OPT:MAX" in error_of(call("export", model, "--out", out, "--frames", "16", code=1))
    assert "expected a folder or a hub id" in error_of(call("export", tmp_path / "gone", "--out", out, code=1))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_asked_says_why_before_the_model_is_loaded(call, film, simulated_bag, tmp_path):
    gone = tmp_path / "gone"
    (tmp_path / "wrong.json").write_text("[1]")
    cases = {
        "gone.mp4": ["ask", tmp_path / "gone.mp4", "What?", "--model", gone],
        "question is empty": ["ask", film, " ", "--model", gone],
        "expected 2 to 26": ["ask", film, "What?", "--option", "one", "--model", gone],
        "expected at least 2": ["ask", film, "What?", "--type", "choice", "--model", gone],
        "one is repeated": ["ask", film, "What?", "--option", "a", "--option", "a", "--model", gone],
        "expected one of auto, text": ["ask", film, "What?", "--type", "colour", "--model", gone],
        "ask.max_frames = -1: expected 0 to 256": ["ask", film, "What?", "--frames", -1, "--model", gone],
        "ask.dtype": ["ask", film, "What?", "--dtype", "int4", "--model", gone],
        "add --model": ["report", simulated_bag, "--ask", "What?", "--model", "none"],
        "ask --json": ["report", simulated_bag, "--answers", tmp_path / "wrong.json"],
    }
    for part, command in cases.items():
        assert part in error_of(call(*command, code=1))


def test_a_model_that_cannot_be_loaded_is_named_as_it_was_given(call, model, film, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = {
        "empty": ["--model", tmp_path / "empty"],
        "cuda:99": ["--model", model, "--device", "cuda:99"],
        "gone": ["--model", tmp_path / "gone"],
    }
    for part, wrong in cases.items():
        text = error_of(call("ask", film, "What?", *wrong, code=1))
        assert part in text and str(tmp_path.parent) not in text


def test_without_torch_the_command_that_installs_it_is_said(film, model):
    done = run("ask", film, "What?", "--model", model, code=1, start=without_module("torch"))
    assert "pip install 'torch<3,>=2.6' --index-url" in error_of(done) and "whl/cpu" in error_of(done)
