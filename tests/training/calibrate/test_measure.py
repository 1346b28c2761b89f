"""Calibration against closed forms and brute force, and the command on an untrained model."""

import json
from math import inf, log

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.calibration import FILE, NOT_OBSERVED, Calibration, Scale, read_calibration
from spatial_mllm_ros.motion.asked import CAMERA_MOVED, POINT_MOVED
from spatial_mllm_training.calibrate.measure import Asked, calibrate, check
from spatial_mllm_training.calibrate.scales import FEWEST, bins_of, calibration_error, fit_scale, scaled
from spatial_mllm_training.calibrate.thresholds import find_threshold, motion_threshold
from spatial_mllm_training.multispa.wording import templates

SHARES = st.floats(0, 1)


class TestThreshold:
    def test_two_groups_that_do_not_overlap(self):
        found = find_threshold([0.0, 0.1, 0.2], [0.6, 0.9])
        assert (found.value, found.refused, found.wrongly) == (pytest.approx(0.4), 1.0, 0.0)

    def test_where_both_bounds_can_be_kept_they_are(self):
        # 10 answerable and 10 unanswerable; refusing above 0.55 parts best (0.7) but refuses 2 of 10 wrongly
        answerable = [0.1] * 8 + [0.7, 0.95]
        unanswerable = [0.6] * 1 + [0.8] * 8 + [0.3]
        found = find_threshold(answerable, unanswerable)
        assert found.value == pytest.approx(0.75)
        assert (found.refused, found.wrongly) == (pytest.approx(0.8), pytest.approx(0.1))

    def test_where_they_cannot_not_too_much_is_refused(self):
        # above 0.12 all 10 unanswerable are refused, but 3 of 10 answerable, too
        found = find_threshold([0.1] * 7 + [0.2] * 3, [0.15] * 9 + [0.95])
        assert (found.refused, found.wrongly) == (pytest.approx(0.1), 0.0) and found.value == pytest.approx(0.575)

    @pytest.mark.parametrize(("answerable", "unanswerable"), [([], [0.5]), ([0.5], [])])
    def test_both_kinds_of_questions_are_needed(self, answerable, unanswerable):
        with pytest.raises(ValueError, match="answerable and unanswerable"):
            find_threshold(answerable, unanswerable)

    @example([0.9999999999999999], [1.0])
    @given(st.lists(SHARES, min_size=1, max_size=12), st.lists(SHARES, min_size=1, max_size=12))
    def test_nothing_is_better(self, answerable, unanswerable):
        found = find_threshold(answerable, unanswerable)
        good, bad = np.array(answerable), np.array(unanswerable)

        def shares(threshold):
            return (bad > threshold).mean(), (good > threshold).mean()

        assert shares(found.value) == (pytest.approx(found.refused), pytest.approx(found.wrongly))
        every = [shares(t) for t in [0.0, *answerable, *unanswerable]]
        spared = [(r, w) for r, w in [*every, (0.0, 0.0)] if w <= 0.1]
        kept = [(r, w) for r, w in spared if r >= 0.8] or spared
        assert found.refused - found.wrongly == pytest.approx(max(r - w for r, w in kept))


class TestScale:
    def test_one_confidence_becomes_the_smoothed_share(self):
        """All of 0.9, 30 of 50 right: the best constant is the mean of Platt's targets."""
        scale = fit_scale([0.9] * 50, [True] * 30 + [False] * 20)
        mean = (30 * 31 / 32 + 20 * 1 / 22) / 50
        assert scale(0.9) == pytest.approx(mean, abs=1e-4)

    def test_two_confidences_become_their_shares(self):
        """Two parameters meet two values exactly: 0.5 and 0.9 that are right in 25 % and 75 %, up to the smoothing."""
        confidence, right = [0.5] * 4000 + [0.9] * 4000, ([True] + [False] * 3) * 1000 + ([True] * 3 + [False]) * 1000
        scale = fit_scale(confidence, right)
        assert scale.shift == pytest.approx(log(1 / 3), abs=0.01)
        assert scale.slope == pytest.approx((log(3) - log(1 / 3)) / log(9), abs=0.01)

    def test_a_known_scale_is_found_again(self):
        rng = np.random.default_rng(0)
        bare = rng.uniform(0.02, 0.98, 20_000)
        right = rng.random(len(bare)) < scaled(Scale(0.5, 1.0), bare)
        found = fit_scale(bare, right)
        assert abs(found.slope - 0.5) < 0.05 and abs(found.shift - 1.0) < 0.05
        assert calibration_error(bare, right) > 0.1 > 0.02 > calibration_error(scaled(found, bare), right)

    def test_confidence_that_orders_backwards_tells_nothing(self):
        scale = fit_scale([0.9] * 50 + [0.1] * 50, [False] * 50 + [True] * 50)
        assert scale.slope == pytest.approx(0, abs=1e-6) and scale(0.9) == pytest.approx(0.5, abs=1e-3)

    @settings(max_examples=30)
    @given(st.lists(st.tuples(SHARES, st.booleans()), max_size=60))
    def test_any_answers_give_a_scale(self, answers):
        scale = fit_scale([c for c, _ in answers], [right for _, right in answers])
        assert 0 <= scale.slope < inf and abs(scale.shift) < inf
        assert len(answers) >= FEWEST or scale == Scale()


class TestError:
    def test_bins_of_equal_mass(self):
        parts = bins_of(np.arange(31) / 31)
        assert len(parts) == 15 and {len(part) for part in parts} == {2, 3}
        assert np.concatenate(parts).tolist() == list(range(31))
        assert [len(part) for part in bins_of([0.3, 0.1])] == [1, 1]

    def test_by_hand(self):
        # two bins: 0.2 and 0.4 (one right), 0.8 and 1.0 (both right): (|0.5 - 0.3| + |1 - 0.9|) / 2
        assert calibration_error([0.8, 0.2, 1.0, 0.4], [True, True, True, False], 2) == pytest.approx(0.15)

    @given(st.integers(1, 40), SHARES)
    def test_all_right_or_all_wrong(self, count, confidence):
        assert calibration_error([confidence] * count, [True] * count) == pytest.approx(1 - confidence)
        assert calibration_error([confidence] * count, [False] * count) == pytest.approx(confidence)


def test_motion_is_a_reward_where_enough_is_right():
    sure = np.linspace(0.01, 1.0, 100)
    right = sure > 0.6  # the 40 surest
    # Wilson's lower bound of 40 right of n, z = 1.96: 0.5025 of 64, 0.494 of 65; of 40 right of 40 it is 0.912
    assert motion_threshold(sure, right, 0.5) == pytest.approx(sure[36])
    assert motion_threshold(sure, right, 0.91) == pytest.approx(sure[60])
    assert motion_threshold(sure, right, 1.0) is None
    assert motion_threshold(sure, np.zeros(100), 0.5) is None
    assert motion_threshold(sure[-19:], np.ones(19), 0.5) is None, "too few to tell"


def test_confidences_that_say_nothing_seldom_make_rewards():
    rng = np.random.default_rng(2)
    passed = [motion_threshold(rng.random(120), rng.random(120) < 0.4, 0.5) is not None for _ in range(100)]
    assert np.mean(passed) < 0.15  # a share of a half at 20 answers or more would pass in a third of cases


def asked(kind, unseen, confidence, right, question_type="camera_distance", asks=""):
    return Asked(question_type, unseen, kind, confidence, right, asks)


def test_all_figures_together():
    rng = np.random.default_rng(1)
    answers = []
    for i in range(4000):
        bare = rng.uniform(0.1, 0.5)
        right = bool(rng.random() < Scale(1.5, 2.0)(bare))
        answers.append(asked("number", 0.05 + 0.1 * rng.random(), bare, right))
        if i % 4 == 0:
            answers.append(asked("text", 0.6 + 0.3 * rng.random(), 0.9, True, "not_observed"))
    found = calibrate(answers, 6)
    assert 0.15 < found.threshold.value < 0.6 and (found.threshold.refused, found.threshold.wrongly) == (1, 0)
    assert {kind: row.count for kind, row in found.kinds.items()} == {"not_observed": 1000, "number": 4000, "all": 5000}
    assert found.kinds["number"].accuracy == pytest.approx(np.mean([a.right for a in answers if a.kind == "number"]))
    assert found.kinds["number"].before > 0.2 and found.kinds["all"].after < 0.04
    assert found.calibration.max_frames == 6 and found.calibration.motion_confidence is not None
    assert found.motion_count == 4000 and 0.5 < found.rewards[1] <= 1 and found.rewards[0] >= 20
    invented = [asked("number", 0.1, 0.49, True, "not_observed", "object_distance_coordinate")] * 4000
    misled = check(answers + invented, Calibration(0.5, 0.3, 6))
    assert misled.motion_count == misled.rewards[0] + sum(a.confidence < 0.3 for a in answers if a.kind == "number")
    assert misled.rewards[1] < 0.5, "motion that is invented is wrong"


def test_a_calibration_is_checked_on_other_answers():
    answers = [asked("number", 0.1, 0.5, i % 4 > 0) for i in range(400)]
    answers += [asked("number", 0.3, 0.5, True)] * 100 + [asked("text", 0.8, 0.9, False, "not_observed")] * 100
    scale = Scale(1.0, log(3))  # of 0.5 makes 0.75
    found = check(answers, Calibration(0.2, None, 4, {"number": scale}))
    assert (found.threshold.refused, found.threshold.wrongly) == (1.0, 0.2)
    number = found.kinds["number"]
    assert (number.count, number.accuracy) == (400, 0.75) and number.before == pytest.approx(0.25)
    assert number.after < 0.03
    refusals = found.kinds[NOT_OBSERVED]  # 100 of 0.3 are wrong, 100 of 0.8 right
    assert (refusals.count, refusals.accuracy) == (200, 0.5) and refusals.before == refusals.after
    with pytest.raises(ValueError, match="no calibration"):
        check(answers, Calibration())
    with pytest.raises(ValueError, match="answerable and unanswerable"):
        check(answers[:400], Calibration(0.2))


def test_an_unanswerable_question_that_is_answered_is_wrong():
    assert asked("number", 0.2, 0.8, True, "not_observed").given(0.5) == ("number", 0.8, False)
    assert asked("number", 0.7, 0.8, True, "not_observed").given(0.5) == (NOT_OBSERVED, 0.7, True)
    assert asked("number", 0.7, 0.8, True).given(0.5) == (NOT_OBSERVED, 0.7, False)
    assert asked(NOT_OBSERVED, 0.3, 0.8, False).given(0.5) == (NOT_OBSERVED, 0.3, False)


def test_rewards_are_asked_for_in_the_words_of_training():
    camera, thing = templates("camera_motion"), templates("object_motion")
    (note,) = [n.text for n in templates("notes")["coordinates"] if n.text in POINT_MOVED]
    asked = {f"{d.text} {q.text}" for d in camera["descriptions"] for q in camera["questions"]["camera_distance"]}
    assert CAMERA_MOVED in asked
    spots = [spot.text.replace("{point}", "({x}, {y})") for spot in templates("notes")["spot_coordinate"]]
    questions = {q.text.replace("{spot}", s) for q in thing["questions"]["object_distance_coordinate"] for s in spots}
    assert POINT_MOVED in {f"{d.text} {q} {note}" for d in thing["descriptions"] for q in questions}


def test_the_command_writes_beside_the_weights(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    cv2 = pytest.importorskip("cv2")
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
    from spatial_mllm_training.cli import app

    model = make_untrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 255, (56, 56, 3), np.uint8))
        kind, output, truth = ("not_observed", "text", "not observed") if i % 2 else ("camera_distance", "scalar", 500)
        turns = [{"from": "human", "value": "<image>\n<image>\nHow far, in mm?"}, {"from": "gpt", "value": "500 mm"}]
        record = {"id": f"{i}", "question_type": kind, "images": [f"{i}.png", "0.png"], "conversations": turns}
        lines.append(json.dumps(record | {"gt_value": truth, "meta": {"output": output, "image_size": [56, 56]}}))
    (tmp_path / "held_out.jsonl").write_text("\n".join(lines))
    command = ["calibrate", str(model), str(tmp_path / "held_out.jsonl"), "--max-tokens", "4", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        app([*command, "--picture", str(tmp_path / "curves.png")])
    text = capsys.readouterr()
    assert ended.value.code == 0, text.err
    assert "unanswerable questions are refused" in text.out and FILE in text.err
    written = read_calibration(model)
    assert written is not None and written.not_observed is not None
    assert written.max_frames == 2 and written.motion_confidence is None and written.reasoning is None
    assert cv2.imread(str(tmp_path / "curves.png")).shape[0] > 400
    (model / FILE).write_text((model / FILE).read_text().replace('"max_frames": 2', '"max_frames": 3'))
    with pytest.raises(SystemExit) as ended:
        app([*command, "--check"])
    text = capsys.readouterr()
    assert ended.value.code == 0 and "unanswerable questions are refused" in text.out, text.err
    kept = read_calibration(model)
    assert kept is not None and kept.max_frames == 3, "nothing is written"
    for option, reasoning in (("--no-reasoning", False), ("--limit=4", False), ("--reasoning", True)):
        with pytest.raises(SystemExit) as ended:
            app([*command, option])
        kept = read_calibration(model)
        assert kept is not None and (kept.max_frames, kept.reasoning) == (3, reasoning), "what was known stays"
    with pytest.raises(SystemExit):
        app([*command, "--max-frames", "2"])
    assert (kept := read_calibration(model)) is not None and kept.max_frames == 2
    with pytest.raises(SystemExit) as ended:
        app(["calibrate", str(tmp_path / "gone"), str(tmp_path / "held_out.jsonl")])
    assert ended.value.code == 1 and "gone" in capsys.readouterr().err
