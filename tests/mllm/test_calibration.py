"""Figures kept with the weights: read strictly, used where nothing else is asked for; and which model is meant."""

import json
from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm import Answer, AnswerType, Question, Verdict, calibration
from spatial_mllm_ros.mllm.calibration import (
    FILE,
    KINDS,
    Calibration,
    Scale,
    answer_kind,
    known_calibration,
    read_calibration,
    write_calibration,
)
from spatial_mllm_ros.mllm.weights import shipped

SHARES = st.floats(0, 1)
WHOLE = Calibration(0.3, 0.7, 8, {"number": Scale(0.5, 1.25), "not_observed": Scale(2.0, 0.0)}, True)


def test_what_is_written_is_read_again(tmp_path):
    assert read_calibration(tmp_path) is None
    assert write_calibration(tmp_path, WHOLE) == tmp_path / FILE
    assert read_calibration(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@given(st.floats(0.001, 0.999), st.floats(0.05, 20), st.floats(-3, 3))
def test_logits_are_scaled_and_shifted(confidence, slope, shift):
    odds = exp(slope * log(confidence / (1 - confidence)) + shift)
    assert Scale(slope, shift)(confidence) == pytest.approx(odds / (1 + odds), abs=1e-9)


@given(SHARES, SHARES, st.floats(0, 100), st.floats(-50, 50))
def test_scaling_keeps_the_order_and_the_range(a, b, slope, shift):
    low, high = sorted(map(Scale(slope, shift), sorted((a, b))))
    assert 0 <= low <= high <= 1
    assert Scale(slope, shift)(min(a, b)) <= Scale(slope, shift)(max(a, b))


def test_frames_are_those_asked_for_up_to_those_it_was_trained_with():
    """Without a number of its own, 16 where nobody asks for another."""
    known, unknown = Calibration(max_frames=4), Calibration()
    assert [known.frames(asked) for asked in (0, 1, 4, 5, 256)] == [4, 1, 4, 4, 4]
    assert [unknown.frames(asked) for asked in (0, 1, 17, 256)] == [16, 1, 17, 256]
    assert Calibration(max_frames=32).frames() == 32


def test_fewer_frames_than_asked_for_are_said_where_it_is_the_models_doing():
    known = Calibration(max_frames=4)
    assert known.remark(4, 32) == "shown 4 frames, not 32: the model was trained with no more"
    assert not any((known.remark(4, 4), known.remark(3, 32), known.remark(4, 0), Calibration().remark(16, 32)))


@given(SHARES, st.sampled_from(KINDS))
def test_without_figures_confidence_stays_as_it_is(confidence, kind):
    assert Calibration().scaled(confidence, kind) == confidence


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no readable JSON"),
        ("[]", "list: expected an object"),
        ('{"threshold": 1}', "unknown field 'threshold': expected not_observed, motion_confidence, max_frames"),
        ('{"not_observed": 1.5}', "not_observed = 1.5: expected a number from 0 to 1"),
        ('{"not_observed": NaN}', "not_observed = nan"),
        ('{"motion_confidence": "0.5"}', "motion_confidence = '0.5'"),
        ('{"motion_confidence": true}', "motion_confidence = True"),
        ('{"max_frames": 0}', "max_frames = 0: expected a whole number from 1 to 256"),
        ('{"max_frames": 8.0}', "max_frames = 8.0"),
        ('{"reasoning": 1}', "reasoning = 1: expected true, false or null"),
        ('{"confidence": {"colour": {}}}', "confidence: expected an object with text, number"),
        ('{"confidence": {"text": {"slope": 1}}}', "confidence.text: expected slope and shift"),
        ('{"confidence": {"text": {"slope": -1, "shift": 0}}}', "confidence.text.slope = -1"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, problem):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SpatialError) as error:
        read_calibration(tmp_path)
    assert problem in error.value.message and error.value.message.startswith(f"{tmp_path.name}: {FILE}: ")
    assert error.value.code == ErrorCode.FAILED
    assert known_calibration(str(tmp_path)) == Calibration(), "loading will say so"


@given(st.dictionaries(st.sampled_from(["not_observed", "max_frames", "x"]), st.none() | st.floats()))
def test_any_json_is_read_or_refused(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("model")
    (folder / FILE).write_text(json.dumps(values))
    try:
        found = read_calibration(folder)
    except SpatialError:
        return
    assert found is not None and found.max_frames is None


def test_the_adapters_figures_come_before_the_models(tmp_path):
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    model.mkdir()
    adapter.mkdir()
    write_calibration(model, WHOLE)
    assert known_calibration(str(model), str(adapter)) == Calibration(0.3, None, 8), "confidences are of the weights"
    write_calibration(adapter, other := replace(WHOLE, max_frames=2))
    assert known_calibration(str(model), str(adapter)) == other
    assert known_calibration("owner/never-heard-of") == known_calibration("") == Calibration()


def test_figures_of_a_hub_model_are_found_in_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit, repo = "0" * 40, tmp_path / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    write_calibration(repo / "snapshots" / commit, WHOLE)
    assert known_calibration("owner/name") == WHOLE


def test_nano_is_the_one_that_ships_also_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, ships = tmp_path / "nano", tmp_path / "ships"
    mine.mkdir()
    ships.mkdir()
    write_calibration(mine, WHOLE)
    write_calibration(ships, other := replace(WHOLE, max_frames=2))
    monkeypatch.setattr(calibration, "find_shipped", lambda: ships)
    assert (known_calibration("nano"), known_calibration("./nano")) == (other, WHOLE)


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        (Question("?", ("a", "b")), Answer(Verdict.ANSWERED, "a", choice=0), "choice"),
        (Question("?"), Answer(Verdict.ANSWERED, "3", 3.0), "number"),
        (Question("?"), Answer(Verdict.ANSWERED, "red"), "text"),
        (Question("?", answer_type=AnswerType.PIXEL), Answer(Verdict.ANSWERED, "(1, 2)"), "pixel"),
        (Question("?", answer_type=AnswerType.VECTOR), Answer(Verdict.NOT_OBSERVED, "no"), "not_observed"),
    ],
)
def test_kinds_of_answers(question, answer, kind):
    assert answer_kind(question, answer) == kind


class TestShipped:
    def made(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        return folder

    @pytest.mark.parametrize(
        ("package", "nano"),
        [
            ("src/spatial_mllm_ros", "src/models/nano"),
            ("venv/lib/python3.11/site-packages/spatial_mllm_ros", "venv/share/spatial_mllm_ros/models/nano"),
            (
                "install/spatial_mllm_ros/lib/python3.11/site-packages/spatial_mllm_ros",
                "install/spatial_mllm_ros/share/spatial_mllm_ros/models/nano",
            ),
            ("usr/local/lib/python3/dist-packages/spatial_mllm_ros", "usr/local/share/spatial_mllm_ros/models/nano"),
        ],
    )
    def test_nano_is_found_where_it_is_installed(self, tmp_path, package, nano):
        assert shipped.find_shipped(tmp_path / package) is None
        folder = self.made(tmp_path / nano)
        assert shipped.find_shipped(tmp_path / package) == folder

    def test_a_folder_without_weights_is_none(self, tmp_path):
        (tmp_path / "models/nano").mkdir(parents=True)
        assert shipped.find_shipped(tmp_path / "spatial_mllm_ros") is None

    def test_which_model_is_meant(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shipped, "find_shipped", lambda: tmp_path)
        versions = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "safetensors": "0.6", "peft": "0.18"}
        monkeypatch.setattr(shipped, "version_of", lambda name: versions.get(name, ""))
        assert (shipped.chosen(""), shipped.chosen("none"), shipped.chosen("a/b")) == ("nano", "", "a/b")
        for name in shipped.NEEDED:
            with monkeypatch.context() as other:
                other.setitem(versions, name, "")
                assert shipped.chosen("") == ""
                assert shipped.chosen("nano") == "nano", "one that is named is tried, and says why"
        monkeypatch.setattr(shipped, "find_shipped", lambda: None)
        assert shipped.chosen("") == ""
