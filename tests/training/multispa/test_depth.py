"""Questions about depth against the exact depth of a room."""

import numpy as np
import pytest

from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import DEPTH, Candidate
from spatial_mllm_training.multispa.scene import Scene
from spatial_mllm_training.multispa.tasks.depth import propose

from ...geometry.room import CAMERAS, HEIGHT, START_NS, STEP_NS, WIDTH, depth_of, frames_of, walk
from ..scenes import room_scene

POSES = walk(24)


def proposed(scene, count, seed=0):
    return list(propose(scene, SceneIndex(scene), np.random.default_rng(seed), count))


@pytest.mark.parametrize("count", [1, 40])
def test_answers_are_those_of_exact_depth(count):
    found = proposed(room_scene(), count)
    assert [sum(c.question_type == kind for c in found) for kind in DEPTH] == [count] * 4
    for candidate in found:
        assert candidate.referring == candidate.question_type.rpartition("_")[2]
        (i,) = candidate.frames
        z = [1000 * depth_of(POSES[i])[p.v, p.u] for p in candidate.points]
        if candidate.question_type.startswith("depth_estimation"):
            assert abs(candidate.truth - z[0]) <= 0.501 and candidate.truth == round(candidate.truth)
            assert candidate.bins == {"depth": int(z[0] / 500)} and candidate.output == "scalar"
        else:
            assert [p.name for p in candidate.points] == ["A", "B"]
            assert candidate.truth == "AB"[int(np.argmin(z))] == candidate.bins["answer"]
            assert max(z) >= 1.0999 * min(z) and max(z) - min(z) >= 99.99
            first, second = candidate.points
            assert np.hypot(first.u - second.u, first.v - second.v) >= 0.05 * WIDTH
        assert all(p.image == 0 and 2 <= p.u < WIDTH - 2 and 2 <= p.v < HEIGHT - 2 for p in candidate.points)
        assert Candidate.of(candidate.values()) == candidate


def test_answers_and_distances_are_spread():
    found = proposed(room_scene(), 60)
    letters = [c.truth for c in found if c.question_type == "depth_comparison_dot"]
    assert 20 <= letters.count("A") <= 40
    near = [c.bins["depth"] for c in found if c.question_type == "depth_estimation_dot"]
    all_of = np.histogram([int(2 * z) for pose in POSES for z in depth_of(pose).ravel()], range(13))[0]
    assert len(set(near)) >= np.count_nonzero(all_of > 0.03 * all_of.sum())
    assert len({c.frames for c in found}) > 15


def test_the_same_seed_proposes_the_same():
    assert proposed(room_scene(), 10) == proposed(room_scene(), 10) != proposed(room_scene(), 10, seed=1)


def test_poses_are_not_needed():
    scene = Scene("no poses", "test", frames_of(walk(3), depth=True, known=False), key="none")
    assert len(proposed(scene, 5)) == 20


def test_where_nothing_can_be_asked_nothing_is():
    frames = frames_of(walk(2))
    wall = [type(frames[0])(START_NS + i * STEP_NS, CAMERAS["front"], image=f.image,
                            depth=np.full((HEIGHT, WIDTH), 2, np.float32)) for i, f in enumerate(frames)]  # fmt: skip
    holes = [type(frames[0])(START_NS + i * STEP_NS, CAMERAS["front"], image=f.image,
                             depth=np.zeros((HEIGHT, WIDTH), np.float32)) for i, f in enumerate(frames)]  # fmt: skip
    kinds = {c.question_type for c in proposed(Scene("wall", "test", wall, key="wall"), 5)}
    assert kinds == {"depth_estimation_dot", "depth_estimation_coordinate"}
    for nothing in (holes, frames, []):
        assert proposed(Scene("nothing", "test", nothing, key="nothing"), 5) == []
