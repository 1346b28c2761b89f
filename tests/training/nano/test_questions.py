"""Questions drawn from views: answers against the walls of a box and against formulas of their own."""

import json
from collections import Counter

import numpy as np
import pytest

from spatial_mllm_ros.mllm import AnswerType
from spatial_mllm_training.multispa.question import question_of
from spatial_mllm_training.nano.questions import Clip, ask

from ..geometry.boxes import FOCAL, HALF, SIZE, box_views

VIEWS = box_views(8, seed=5)


def drawn(frames, count=40, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(len(VIEWS.images)):
        chosen = [i] if frames == 1 else [i, (i + 3) % len(VIEWS.images)]
        clip = Clip.of(VIEWS, chosen)
        found += [(clip, record) for record in ask(clip, rng, count)]
    return found


def found_again(clip, u, v):
    """Where the second image shows what pixel (u, v) of the first shows; far away where that is behind it."""
    z = wall_depth(clip.poses[0], *(1000 * np.array([u, v]) // SIZE[::-1]))
    point = np.array([(u - (SIZE[1] - 1) / 2) / FOCAL * z, (v - (SIZE[0] - 1) / 2) / FOCAL * z, z, 1])
    x, y, z, _ = np.linalg.inv(clip.poses[1]) @ clip.poses[0] @ point
    return np.array([x, y]) / z * FOCAL + (np.array(SIZE[::-1]) - 1) / 2 if z > 0 else np.full(2, 1e6)


def wall_depth(pose, x, y):
    """Depth of the wall in the middle of the pixel that holds (x, y) thousandths, metres."""
    u, v = np.ceil(np.array([x, y]) * SIZE[::-1] / 1000)
    ray = pose[:3, :3] @ [(u - (SIZE[1] - 1) / 2) / FOCAL, (v - (SIZE[0] - 1) / 2) / FOCAL, 1]
    steps = np.concatenate([(HALF - pose[:3, 3]) / ray, (-HALF - pose[:3, 3]) / ray])
    return steps[steps > 0].min()


def places(text):
    """All (x, y) in a question, but for those that explain coordinates."""
    from re import findall

    return [(int(x), int(y)) for x, y in findall(r"\((\d+), (\d+)\)", text) if (x, y) != ("0", "0")]


def test_depths_are_those_of_the_walls():
    asked = [(clip, r) for clip, r in drawn(1) if r["question_type"] == "depth_estimation_coordinate"]
    assert len(asked) > 50
    for clip, record in asked:
        found = places(record["conversations"][0]["value"])
        if len(found) == 1:
            assert record["gt_value"] == pytest.approx(1000 * wall_depth(clip.poses[0], *found[0]), rel=2e-3)


def test_the_nearer_of_two_is_nearer():
    asked = [(clip, r) for clip, r in drawn(1) if r["question_type"] == "depth_comparison_coordinate"]
    assert len(asked) > 20
    answers = Counter()
    for clip, record in asked:
        a, b = places(record["conversations"][0]["value"])[:2]
        near = "A" if wall_depth(clip.poses[0], *a) < wall_depth(clip.poses[0], *b) else "B"
        assert record["gt_value"] == near
        answers[near] += 1
    assert min(answers.values()) > 0.25 * sum(answers.values())


def test_matches_are_projections_of_the_same_point():
    asked = [(clip, r) for clip, r in drawn(2) if r["question_type"] == "correspondence_coordinate"]
    assert len(asked) > 10
    for clip, record in asked:
        x, y = places(record["conversations"][0]["value"])[0]
        u, v = np.ceil(np.array([x, y]) * SIZE[::-1] / 1000)
        z = wall_depth(clip.poses[0], x, y)
        point = np.array([(u - (SIZE[1] - 1) / 2) / FOCAL * z, (v - (SIZE[0] - 1) / 2) / FOCAL * z, z, 1])
        x, y, z, _ = np.linalg.inv(clip.poses[1]) @ clip.poses[0] @ point
        place = np.array([x, y]) / z * FOCAL + (np.array(SIZE[::-1]) - 1) / 2
        told = np.array(json.loads(record["gt_value"])) * SIZE[::-1] / 1000
        assert np.abs(np.ceil(told) - place).max() <= 0.6


def test_motion_is_told_in_the_first_cameras_axes():
    asked = [(clip, r) for clip, r in drawn(2) if r["question_type"].startswith("camera_")]
    kinds = {record["question_type"] for _, record in asked}
    assert {"camera_distance", "camera_vector", "camera_left_right", "camera_yaw_direction"} <= kinds
    for clip, record in asked:
        moved = (np.linalg.inv(clip.poses[0]) @ clip.poses[1])[:3, 3]
        match record["question_type"]:
            case "camera_distance":
                assert record["gt_value"] == pytest.approx(1000 * np.linalg.norm(moved), abs=0.5)
            case "camera_vector":
                assert np.allclose(record["gt_value"], 1000 * moved, atol=0.5)
            case "camera_left_right":
                assert record["gt_value"] == ("right" if moved[0] > 0 else "left")
            case "camera_forward_back":
                assert record["gt_value"] == ("forward" if moved[2] > 0 else "backward")


def test_points_at_edges_and_without_depth_are_not_asked_about():
    clip = Clip.of(VIEWS, [0])
    clip.depth[0, :, ::2] = 0
    assert ask(clip, np.random.default_rng(0), 40) == []
    clip.depth[0] = np.where(np.arange(SIZE[1]) % 4 < 2, 1.0, 3.0)
    assert ask(clip, np.random.default_rng(0), 40) == []


def test_hidden_points_are_outside_of_the_second_image():
    """In an empty box nothing else hides a point."""
    assert "not_observed" not in {record["question_type"] for _, record in drawn(2)}
    rng = np.random.default_rng(0)
    count = 0
    for i in range(len(VIEWS.images)):
        clip = Clip.of(VIEWS, [i, (i + 3) % len(VIEWS.images)])
        for record in ask(clip, rng, 40, hidden=True):
            if record["question_type"] == "not_observed":
                assert record["gt_value"] == "not observed"
                assert question_of(record).answer_type == AnswerType.PIXEL  # asked as if it could be answered
                x, y = places(record["conversations"][0]["value"])[0]
                place = found_again(clip, *np.ceil(np.array([x, y]) * SIZE[::-1] / 1000))
                assert ((place < 0) | (place > np.array(SIZE[::-1]) - 1)).any()
                count += 1
    assert count > 20


def test_points_behind_something_are_hidden():
    clip = Clip.of(VIEWS, [0, 3])
    clip.depth[1] = 0.3  # a wall before the second camera
    asked = ask(clip, np.random.default_rng(0), 200, hidden=True)
    matches = [r for r in asked if r["question_type"] == "correspondence_coordinate"]
    assert not matches
    covered = 0
    for record in asked:
        if record["question_type"] == "not_observed":
            x, y = places(record["conversations"][0]["value"])[0]
            place = found_again(clip, *np.ceil(np.array([x, y]) * SIZE[::-1] / 1000))
            covered += bool(((place >= 0) & (place <= np.array(SIZE[::-1]) - 1)).all())
    assert covered > 5


def test_no_more_questions_than_asked_for_and_the_same_for_the_same_seed():
    clip = Clip.of(VIEWS, [0, 3])
    one, other = (ask(clip, np.random.default_rng(7), 5) for _ in range(2))
    assert one == other
    assert 0 < len(one) <= 5
