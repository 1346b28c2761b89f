"""The streaming sampler: what must hold for any stream, and how close it comes to offline greedy selection."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.coverage import StreamingCoverageSampler, greedy_cover, voxel_keys
from spatial_mllm_ros.coverage.streaming import Update

frame_sets = st.sets(st.integers(0, 24), max_size=10)
streams = st.lists(frame_sets, max_size=25)
sizes = st.integers(1, 4)
reserves = st.integers(0, 3)


def keys_of(voxels):
    return np.array(sorted(voxels), np.int64)


def union(sets):
    return set().union(*sets)


def offered(frames, **kwargs):
    sampler = StreamingCoverageSampler(voxel_size=0.1, **kwargs)
    for i, voxels in enumerate(frames):
        sampler.add_voxels(i, keys_of(voxels))
    return sampler


def check(sampler, frames, held):
    """Every count equals a recount from the frames themselves."""
    selected = sampler.selected
    assert sampler.held == held and len(held) <= sampler.k + sampler.reserve
    assert selected == [i for i in held if i in set(selected)] and len(selected) <= sampler.k
    assert sampler.voxels_covered == len(union(frames[i] for i in selected))
    expected = {i: (len(frames[i]), len(frames[i] - union(frames[j] for j in selected if j != i))) for i in selected}
    assert sampler.gains() == expected and list(expected) == selected
    if len(selected) < sampler.k:  # a free place means that nothing held would add to the selection
        assert union(frames[i] for i in held) == union(frames[i] for i in selected)
    centers = sampler.covered_centers()
    assert np.array_equal(voxel_keys(centers, 0.1), keys_of(union(frames[i] for i in selected)))


@settings(deadline=None)
@given(streams, sizes, reserves, st.data())
def test_counts_equal_a_recount_after_every_step(frames, k, reserve, data):
    origin = (1 << 20) * (1 << 42 | 1 << 21 | 1)  # voxels near the middle of the world, so that centres are exact
    frames = [{origin + v for v in voxels} for voxels in frames]
    sampler = StreamingCoverageSampler(k, 0.1, reserve=reserve)
    held, seen = [], set()
    for i, voxels in enumerate(frames):
        before = sampler.voxels_covered
        was_selected = sampler.selected
        update = sampler.add_voxels(i, keys_of(voxels))
        held += [i] * update.accepted
        if update.evicted is not None:
            held.remove(update.evicted)
        seen |= voxels
        assert update.gain == sampler.voxels_covered - before >= 0
        assert (update.gain > 0) == (sampler.selected != was_selected)
        assert sampler.voxels_seen == len(seen)
        check(sampler, frames, held)
        if held and data.draw(st.integers(0, 9)) == 0:
            gone = data.draw(st.sampled_from(held))
            sampler.remove(gone)
            held.remove(gone)
            check(sampler, frames, held)


@settings(deadline=None, max_examples=200)
@given(st.lists(frame_sets, max_size=9), sizes, reserves)
def test_never_below_the_bound(frames, k, reserve):
    """At least the largest frame, hence at least 1/k of the best k frames; with all frames in the reserve, at least
    half of the best (a local optimum under exchange: Nemhauser, Wolsey and Fisher, 1978, section 4)."""
    covered = offered(frames, k=k, reserve=reserve).voxels_covered
    best = max((len(union(c)) for c in combinations(frames, min(k, len(frames)))), default=0)
    assert covered >= max(map(len, frames), default=0)
    assert k * covered >= best
    assert 2 * offered(frames, k=k, reserve=len(frames)).voxels_covered >= best


class Twin:
    """The sampler written with sets: the same rules, every union counted anew."""

    def __init__(self, k, reserve):
        self.held, self.slots, self.free = {}, {}, list(range(k))
        self.k, self.reserve = k, reserve

    def covered(self, slots):
        return union(self.held[i] for i in slots.values())

    def rest(self):
        return [i for i in self.held if i not in self.slots.values()]

    def growth(self, i):
        """With frame i in a free slot, or where it adds most, the first of equals; and that slot."""
        now = len(self.covered(self.slots))
        slots = self.free[:1] or sorted(self.slots)
        growths = [len(self.covered(self.slots | {slot: i})) - now for slot in slots]
        return max(growths), slots[growths.index(max(growths))]

    def add(self, i, voxels):
        if not voxels:
            return
        self.held[i] = voxels
        candidates = [i]
        while candidates:
            growths = [self.growth(c) for c in candidates]
            best = max(range(len(candidates)), key=lambda n: growths[n][0])
            growth, slot = growths[best]
            if growth <= 0:
                break
            self.free = [s for s in self.free if s != slot]
            self.slots[slot] = candidates[best]
            candidates = self.rest()
        if len(self.held) > self.k + self.reserve:
            rest = self.rest()
            covered, kept = self.covered(self.slots), set()
            while len(kept) < self.reserve:
                best = max(rest, key=lambda r: len(self.held[r] - covered))
                if not self.held[best] - covered:
                    break
                covered |= self.held[best]
                kept.add(best)
            del self.held[max(r for r in rest if r not in kept)]


@settings(deadline=None, max_examples=300)
@given(streams, sizes, reserves)
def test_it_selects_what_its_rules_say(frames, k, reserve):
    sampler, twin = StreamingCoverageSampler(k, 0.1, reserve=reserve), Twin(k, reserve)
    for i, voxels in enumerate(frames):
        sampler.add_voxels(i, keys_of(voxels))
        twin.add(i, voxels)
        assert sampler.held == list(twin.held) and set(sampler.selected) == set(twin.slots.values())


@settings(deadline=None)
@given(streams, sizes, reserves)
def test_the_same_stream_gives_the_same_frames(frames, k, reserve):
    first, second = (offered(frames, k=k, reserve=reserve) for _ in range(2))
    assert first.held == second.held and first.selected == second.selected and first.gains() == second.gains()


@settings(deadline=None)
@given(streams, sizes, st.integers(0, 6), st.integers(1, 3))
def test_select_is_greedy_among_the_held_frames_that_pass(frames, k, most, modulus):
    sampler = offered(frames, k=k, reserve=3)
    ids = [i for i in sampler.held if i % modulus == 0]
    order, _ = greedy_cover([keys_of(frames[i]) for i in ids], most)
    assert sampler.select(most, lambda i: i % modulus == 0) == [ids[i] for i in order]
    assert sampler.select(keep=lambda i: False) == sampler.select(0) == []
    order, _ = greedy_cover([keys_of(frames[i]) for i in sampler.held], k)
    assert sampler.select() == [sampler.held[i] for i in order]


def test_points_and_voxels_are_the_same_offer():
    points = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    points[::7] = np.nan
    by_points, by_voxels = StreamingCoverageSampler(2, 0.25), StreamingCoverageSampler(2, 0.25)
    assert by_points.add("a", points) == by_voxels.add_voxels("a", voxel_keys(points, 0.25))
    assert by_points.gains() == by_voxels.gains() and by_points.voxels_covered > 50


def test_a_wider_view_takes_the_place_of_what_it_makes_dispensable():
    sampler = StreamingCoverageSampler(2, 0.1, reserve=0)
    assert sampler.add_voxels("left", keys_of({1, 2, 3})) == Update(True, None, 3)
    assert sampler.add_voxels("right", keys_of({7, 8, 9})) == Update(True, None, 3)
    assert sampler.add_voxels("part", keys_of({2, 3, 4})) == Update(False, None, 0)
    assert sampler.add_voxels("wide", keys_of({1, 2, 3, 4, 5})) == Update(True, "left", 2)
    assert sampler.selected == ["right", "wide"]
    assert sampler.gains() == {"right": (3, 3), "wide": (5, 5)}


def test_the_reserve_brings_back_what_was_given_up():
    """The first frame makes room for the third, and is right again when the fourth makes the third dispensable."""
    frames = [{1, 2, 3, 4}, {5, 6, 7, 8}, {3, 4, 5, 6, 9, 10, 11}, {5, 6, 7, 8, 9, 10, 11, 12}]
    assert offered(frames[:3], k=2).selected == [1, 2]
    assert offered(frames, k=2).selected == [0, 3] and offered(frames, k=2).voxels_covered == 12
    assert offered(frames, k=2, reserve=0).selected == [2, 3]


def test_frames_of_several_cameras():
    sampler = StreamingCoverageSampler(3, 0.1)
    for stamp in range(4):
        for camera, first in (("front", 0), ("rear", 100)):
            sampler.add_voxels((stamp, camera), keys_of(range(first + 5 * stamp, first + 5 * stamp + 6)))
    assert len(sampler.selected) == 3
    only_rear = sampler.select(2, lambda key: key[1] == "rear")
    assert len(only_rear) == 2 and {camera for _, camera in only_rear} == {"rear"}


def test_a_frame_that_sees_nothing_is_not_held():
    sampler = StreamingCoverageSampler(2, 0.1)
    for points in (np.zeros((0, 3)), np.full((4, 3), np.nan)):
        assert sampler.add("empty", points) == Update(False, None, 0)
    assert sampler.held == sampler.selected == sampler.select() == [] and sampler.voxels_seen == 0
    assert sampler.gains() == {} and sampler.covered_centers().shape == (0, 3)


def test_a_frame_that_adds_nothing_is_not_selected():
    sampler = StreamingCoverageSampler(4, 0.1)
    sampler.add_voxels(0, keys_of({1, 2, 3}))
    assert sampler.add_voxels(1, keys_of({1, 2})).gain == 0
    assert sampler.selected == [0]


def test_remove_lets_the_reserve_in():
    sampler = offered([{1, 2, 3}, {4, 5, 6}, {2, 3}, {5}], k=2)
    assert sampler.selected == [0, 1]
    sampler.remove(0)
    assert sampler.selected == [1, 2] and sampler.voxels_covered == 5 and sampler.voxels_seen == 6
    sampler.add_voxels(0, keys_of({1, 2, 3}))  # its id is free again
    assert sampler.selected == [1, 0]
    with pytest.raises(ValueError, match="frame 9 is not held"):
        sampler.remove(9)


def test_reset_forgets_everything():
    sampler = offered([{1, 2}, {3}, {4}], k=2)
    sampler.reset()
    assert sampler.held == [] and sampler.voxels_covered == sampler.voxels_seen == 0
    assert sampler.add_voxels(0, keys_of({1, 2})) == Update(True, None, 2)


def test_an_id_that_is_held_cannot_come_again():
    sampler = StreamingCoverageSampler(2, 0.1)
    sampler.add_voxels((7, "front"), keys_of({1, 2}))
    with pytest.raises(ValueError, match=r"frame \(7, 'front'\) is held already"):
        sampler.add_voxels((7, "front"), keys_of({3}))
    assert sampler.voxels_seen == 2 and sampler.gains() == {(7, "front"): (2, 2)}


@pytest.mark.parametrize(
    "keys", [np.array([3, 1]), np.array([1, 1]), np.array([-1, 2]), np.array([1.0, 2.0]), np.array([[1, 2]])]
)
def test_keys_in_disorder_are_refused(keys):
    sampler = StreamingCoverageSampler(2, 0.1)
    with pytest.raises(ValueError, match="voxels of frame 5: expected sorted distinct int64 keys"):
        sampler.add_voxels(5, keys)
    assert sampler.held == [] and sampler.voxels_seen == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"k": 0}, "k = 0: expected at least 1 frame"),
        ({"k": -3}, "k = -3"),
        ({"voxel_size": 0.0}, "voxel_size = 0.0"),
        ({"voxel_size": float("nan")}, "voxel_size = nan"),
        ({"max_voxels": 0}, "max_voxels = 0"),
        ({"reserve": -1}, "reserve = -1"),
    ],
)
def test_bad_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        StreamingCoverageSampler(**{"k": 2, "voxel_size": 0.1, **arguments})


def test_memory_is_flat_over_20000_frames_of_a_scene_that_never_ends():
    sampler = StreamingCoverageSampler(8, 0.1, max_voxels=4096)
    nbytes = []
    for i in range(20_000):
        sampler.add_voxels(i, np.arange(5 * i, 5 * i + 60 + i % 7))
        nbytes.append(sampler.nbytes)
    assert max(nbytes[1000:]) <= max(nbytes[:1000])
    assert len(sampler.held) == 8 + 16
    assert abs(sampler.voxels_seen / 100_060 - 1) < 6 * 1.2 / 4096**0.5


def rooms(seed):
    """Voxels of 200 views of a camera that walks and looks about over a floor of 60 x 60 voxels."""
    random = np.random.default_rng(seed)
    u, v = np.mgrid[-8:9, -8:9]
    place = random.uniform(0, 60, 2)
    for _ in range(200):
        place = np.clip(place + random.normal(0, 2.5, 2), 0, 60)
        reach = random.uniform(3, 8)
        i, j = (place[0] + u + 9).astype(int), (place[1] + v + 9).astype(int)
        yield np.unique((i << 21 | j)[u**2 + v**2 < reach**2])


@pytest.mark.parametrize("k", [4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(5))
def test_streaming_reaches_offline_greedy(k, seed):
    frames = list(rooms(seed))
    sampler = StreamingCoverageSampler(k, 1.0)
    for i, keys in enumerate(frames):
        sampler.add_voxels(i, keys)
    assert sampler.voxels_covered >= 0.98 * sum(greedy_cover(frames, k)[1])


@pytest.mark.parametrize("k", [4, 8, 16, 32])
@pytest.mark.parametrize("order", ["as recorded", "reversed", "shuffled", "smallest first"])
def test_streaming_reaches_offline_greedy_on_the_recording(kitchen_voxels, k, order):
    frames = list(kitchen_voxels)
    if order == "reversed":
        frames.reverse()
    elif order == "shuffled":
        np.random.default_rng(0).shuffle(frames := np.array(frames, object))
    elif order == "smallest first":
        frames.sort(key=len)
    sampler = StreamingCoverageSampler(k, 0.1)
    for i, keys in enumerate(frames):
        sampler.add_voxels(i, keys)
    assert sampler.voxels_covered >= 0.98 * sum(greedy_cover(list(frames), k)[1])
