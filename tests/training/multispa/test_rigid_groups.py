"""Points grouped by what moves together: against known bodies, a slow twin of the distances, and gaps in the tracks."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_training.multispa import rigid_groups as module
from spatial_mllm_training.multispa.rigid_groups import distance_changes, noise_of
from spatial_mllm_training.multispa.scene import Tracks
from spatial_mllm_training.multispa.tracks import moving_groups

from ..scenes import body_tracks


def rigid_groups(points, visible=None):
    """Of points that are seen all the time, where nothing else is said."""
    return module.rigid_groups(points, np.ones(points.shape[:2], bool) if visible is None else visible)


def rand_index(truth, found):
    """Adjusted Rand index (Hubert & Arabie 1985, eq. 5)."""
    table = np.zeros((len(truth), len(truth)), int)
    np.add.at(table, (np.unique(truth, return_inverse=True)[1], np.unique(found, return_inverse=True)[1]), 1)
    both, rows, columns = (float((n * (n - 1) / 2).sum()) for n in (table, table.sum(1), table.sum(0)))
    chance = rows * columns / (len(truth) * (len(truth) - 1) / 2)
    return (both - chance) / ((rows + columns) / 2 - chance)


def test_rand_index_by_hand():
    """Of 15 pairs of six points 6 are together in the truth, 7 in what was found, 3 in both; by chance 6 * 7 / 15."""
    truth, found = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    pairs = list(combinations(range(6), 2))
    together = [sum(row[i] == row[j] for i, j in pairs) for row in (truth, found)]
    assert together == [6, 7] and sum(truth[i] == truth[j] and found[i] == found[j] for i, j in pairs) == 4
    assert rand_index(truth, found) == pytest.approx((4 - 2.8) / (6.5 - 2.8))
    assert rand_index(truth, 5 - truth) == 1


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.003])
@pytest.mark.parametrize("frames", [12, 60])
def test_fifty_scenes_of_two_to_five_bodies(noise, frames):
    scores = []
    for seed in range(50):
        points, owner = body_tracks(2 + seed % 4, frames=frames, seed=seed, noise=noise)
        scores.append(rand_index(owner, rigid_groups(points)))
    assert min(scores) >= 0.95 and (noise or min(scores) == 1)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_bodies_that_go_half_as_far_and_are_seen_half_of_the_time(noise):
    random = np.random.default_rng(1)
    for seed in range(12):
        points, owner = body_tracks(2 + seed % 4, frames=40, seed=seed, noise=noise, far=0.2)
        seen = random.random(points.shape[:2]) < 0.5
        assert rand_index(owner, rigid_groups(points, seen)) >= 0.95


def test_pushed_things_of_a_room():
    """Known exactly all the time; and only where a walking camera sees them, then of those that it saw move."""
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    from spatial_mllm_training.multispa.sources.simulated import SimulatedRef

    random = np.random.default_rng(0)
    tracks = SimulatedRef(7, (64, 48)).open().tracks()
    seen = [tracks.points[visible, p] for p, visible in enumerate(tracks.visible.T)]
    moved = np.array([len(places) > 1 and np.linalg.norm(np.ptp(places, axis=0)) > 0.03 for places in seen])
    known = moved | (tracks.bodies < 0)
    for noise in (0, 0.002):
        points = tracks.points + noise * random.normal(size=tracks.points.shape)
        assert rand_index(tracks.bodies, rigid_groups(points)) >= 0.95
        assert rand_index(tracks.bodies[known], rigid_groups(points, tracks.visible)[known]) >= 0.9


def slow_changes(first, second, slack, least):
    out = np.full((len(first), len(second)), np.nan)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            known = [t for t in range(len(a)) if not np.isnan(a[t] - b[t]).any()]
            if not known:
                continue
            far = max(np.linalg.norm(path[t] - path[known[0]]) for path in (a, b) for t in known)
            distances = [float(np.linalg.norm(a[t] - b[t])) for t in known]
            kept = distances[:1]
            for d in distances:
                if abs(d - kept[-1]) > slack:
                    kept.append(d)
            if far > least:
                out[i, j] = sum(abs(y - x) for x, y in pairwise(kept)) + np.std(distances)
    return out


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.0, 0.1, 1.0]))
def test_distance_changes_as_the_slow_twin(seed, frames, count, slack):
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(count, frames, 3)), random.normal(size=(3, frames, 3))
    first[random.random(first.shape[:2]) < 0.3] = np.nan
    second[random.random(second.shape[:2]) < 0.3] = np.nan
    expected = slow_changes(first, second, slack, 0.5)
    assert distance_changes(first, second, slack, 0.5) == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_distance_there_and_back_counts_twice():
    """One point stays, one goes 1 m away and comes back: 2 m, and the deviation of (0, 1, 0) m from its mean."""
    still, goes = np.zeros((1, 3, 3)), np.array([[[2.0, 0, 0], [3, 0, 0], [2, 0, 0]]])
    assert distance_changes(still, goes, 0.0, 0.01)[0, 0] == pytest.approx(2 + np.sqrt(2 / 9))
    assert distance_changes(still, goes, 1.5, 0.01)[0, 0] == pytest.approx(np.sqrt(2 / 9))
    assert np.isnan(distance_changes(still, still, 0.0, 0.01)[0, 0])


def test_noise_is_measured_and_even_motion_is_none():
    points, _ = body_tracks(3, frames=60, still=100, seed=2)
    assert noise_of(points) < 2e-5
    noisy = points + np.random.default_rng(0).normal(scale=0.003, size=points.shape)
    assert noise_of(noisy) == pytest.approx(0.003, rel=0.05)
    assert noise_of(points[:2]) == 0


def test_still_points_and_few_points_are_no_group():
    points, _ = body_tracks(1, still=30, far=0.4)
    assert (rigid_groups(points[:, :30]) == -1).all()
    assert (rigid_groups(points[:, 30:35]) == -1).all()
    assert (rigid_groups(points[:, 30:36]) == 0).all()
    barely, _ = body_tracks(1, still=0, far=1e-9)
    shift = np.linspace(0, 1, 12)[:, None, None] * np.array([1.0, 0, 0])
    at_rest = barely[:1] + 0 * shift
    assert (rigid_groups(at_rest + 0.0099 * shift) == -1).all()
    assert (rigid_groups(at_rest + 0.0101 * shift) == 0).all()


def test_larger_groups_come_first_and_bodies_that_part_later_are_two():
    small, big = (np.random.default_rng(i).uniform(-0.2, 0.2, (n, 3)) for i, n in enumerate((7, 11)))
    way = np.linspace(0, 0.5, 10)[:, None, None] * np.array([1.0, 0, 0])
    big += np.array([0, 1, 2])
    points = np.concatenate([small + way, big - way], axis=1)
    assert rigid_groups(points).tolist() == [1] * 7 + [0] * 11
    alike = np.concatenate([small + way, big + way], axis=1)
    assert rigid_groups(alike).tolist() == [0] * 18


def test_nothing_to_group():
    assert rigid_groups(np.empty((0, 0, 3))).shape == (0,)
    assert rigid_groups(np.zeros((1, 8, 3))).tolist() == [-1] * 8
    assert rigid_groups(np.full((5, 8, 3), np.nan)).tolist() == [-1] * 8
    points, _ = body_tracks(2, still=0)
    assert (rigid_groups(points, np.zeros(points.shape[:2], bool)) == -1).all()


def test_input_is_left_as_it_is():
    points, _ = body_tracks(2)
    before = points.copy()
    rigid_groups(points, np.random.default_rng(0).random(points.shape[:2]) < 0.5)
    assert (points == before).all()


def test_many_points_and_frames_are_thinned_to_the_same_groups(monkeypatch):
    points, owner = body_tracks(4, frames=50, points=30, still=80, seed=3)
    whole = rigid_groups(points)
    monkeypatch.setattr(module, "MAX_POINTS", 60)
    monkeypatch.setattr(module, "MAX_FRAMES", 9)
    assert rand_index(owner, whole) == 1 and rand_index(whole, rigid_groups(points)) == 1


def test_known_bodies_are_believed_and_unknown_ones_found():
    points, owner = body_tracks(3, frames=20)
    seen, pixels = np.ones(points.shape[:2], bool), np.zeros((*points.shape[:2], 2))
    assert moving_groups(Tracks(points, seen, pixels, owner)) is owner
    assert rand_index(owner, moving_groups(Tracks(points, seen, pixels))) == 1
