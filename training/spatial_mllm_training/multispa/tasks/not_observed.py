"""Questions in the form of others, about what the images do not show.

A point of the first image that the second does not show, or a thing that is nowhere in the scene. Missing depth proves
nothing: a point counts as hidden where it lies well outside the second image, or where all that surrounds its place
there is well in front of it.
"""

from collections.abc import Iterator
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.geometry.cameras import project
from spatial_mllm_ros.geometry.poses import inverse, transform

from ..covisibility import SceneIndex, patches
from ..distractors import wrong_points
from ..item import LETTERS, NOT_OBSERVED, OBJECT_MOTION, OBJECT_SIZE, Candidate, Point
from ..scene import Scene, Tracks
from ..spread import spread
from ..tracks import moving_groups
from .correspondence import OTHERS, choices
from .object_size import IMAGES

TYPES = (NOT_OBSERVED,)
NEEDS = ("depth", "pose")
TRUTH = "not observed"
STILL_FORMS = ("correspondence_coordinate", "correspondence_choice")
POINTS = 32  # looked at in a pair
TRIES = 4  # pairs looked at for each question that is wanted
OUTSIDE = 0.1  # of the width, beyond the border
BEHIND = 0.05  # metres behind the camera
COVERED, COVERED_SHARE = 0.1, 0.1  # metres, and of the depth, that what hides a point is nearer
AROUND = 0.015  # of the width: radius of what has to hide it


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates, forms in turn; a form is used where the scene can have answers to it."""
    labels = absent(scene) if scene.things and len(index.numbers) >= IMAGES[0] else []
    points = len(STILL_FORMS) + len(OBJECT_MOTION) * (scene.tracks is not None)
    share = round(count * len(OBJECT_SIZE) / (len(OBJECT_SIZE) + points)) if labels else 0
    made = 0
    for candidate in _hidden_points(scene, index, rng, count - share):
        made += 1
        yield candidate
    for n in range(count - made if labels else 0):
        yield _absent_thing(index, rng, OBJECT_SIZE[n % len(OBJECT_SIZE)], labels[int(rng.integers(len(labels)))])


def absent(scene: Scene) -> list[str]:
    """Labels of the vocabulary that share no word with a thing of the scene, sorted."""
    words = {word for thing in scene.things for word in _words(thing.label)}
    return sorted({label for label in scene.vocabulary if not words & _words(label)})


def _words(label: str) -> set[str]:
    """Its words without a plural's s."""
    return {word.rstrip("s") for word in label.lower().replace("-", " ").split()}


def unseen(index: SceneIndex, j: int, world: NDArray[np.float64]) -> NDArray[np.str_]:
    """Why frame j does not show points [N, 3] of the world: ``outside``, ``covered``; ``""`` where it may.

    They are where they are when frame j is taken; NaN where that is not known.
    """
    camera = index.scene.frames[j].camera
    points = transform(inverse(index.pose(j)), world)
    places, in_view = project(camera, points)
    margin, size = OUTSIDE * camera.width, np.array([camera.width, camera.height])
    with np.errstate(invalid="ignore"):
        beyond = ((places < -margin) | (places > size + margin)).any(axis=1)
    out = np.where(beyond | (points[:, 2] < -BEHIND), "outside", "")
    at = np.flatnonzero(in_view)
    around = patches(index.depth(j), np.rint(places[at]).astype(np.int64), max(1, round(AROUND * camera.width)))
    z = points[at, 2]
    out[at[around.max(axis=1) < z - np.maximum(COVERED, COVERED_SHARE * z)]] = "covered"
    return out


def _hidden_points(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int):
    pairs, overlaps = index.pairs()
    tracks = scene.tracks() if scene.tracks is not None else None
    moving = np.flatnonzero(moving_groups(tracks) >= 0) if tracks is not None else np.empty(0, np.int64)
    starts = index.numbers[tracks.visible[np.ix_(index.numbers, moving)].any(axis=1)] if tracks is not None else moving
    forms, reasons = cycle(STILL_FORMS + OBJECT_MOTION * bool(len(starts))), cycle(("covered", "outside"))
    made, form, reason = 0, next(forms), next(reasons)
    for k in spread(overlaps, TRIES * count, rng).tolist():
        if made == count:
            return
        bins: dict[str, int | str] = {"asks": form}
        if tracks is not None and form in OBJECT_MOTION:  # of any two images, like those that have an answer
            i, j = int(rng.choice(starts)), int(rng.choice(index.numbers))
            pixels, world = _moving_points(tracks, moving, i, j, rng)
        else:
            i, j = rng.permutation(pairs[k]).tolist()
            bins["overlap"] = int(overlaps[k])
            pixels = index.samples(i, POINTS, rng)
            pixels = pixels[index.still(i, pixels)]
            world = index.world(i, pixels)
        why = unseen(index, j, world)
        wanted = np.flatnonzero(why == reason)
        wanted = wanted if len(wanted) else np.flatnonzero(why != "")
        if not len(wanted):
            form = next(forms)  # this one may have few places
            continue
        n = wanted[0]
        points: tuple[Point, ...] = (Point(0, *pixels[n].tolist()),)
        if form == "correspondence_choice":
            points += _wrong_choices(index, rng, i, j, pixels[n])
            if len(points) == 1:
                continue
        bins["reason"] = str(why[n])
        referring = "dot" if form == "correspondence_choice" else form.rpartition("_")[2]
        yield Candidate(NOT_OBSERVED, (i, j), TRUTH, "text", referring, points, bins=bins, facts={"asks": form})
        made, form, reason = made + 1, next(forms), next(reasons)


def _moving_points(
    tracks: Tracks, moving: NDArray[np.int64], i: int, j: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Points of moving bodies that frame i shows: their pixels [N, 2] there, and where they are in frame j."""
    shown = rng.permutation(moving[tracks.visible[i, moving]])[:POINTS]
    return np.rint(tracks.pixels[i, shown]).astype(np.int64), tracks.points[j, shown]


def _wrong_choices(index: SceneIndex, rng: np.random.Generator, i: int, j: int, pixel):
    """Four points of frame j, none of which is where the hidden point would be; empty where there are not enough."""
    camera = index.scene.frames[j].camera
    points = transform(inverse(index.pose(j)), index.world(i, pixel[None]))
    place = np.nan_to_num(project(camera, points)[0][0], nan=-camera.width).clip(-camera.width, 2 * camera.width)
    truth = np.rint(place).astype(np.int64)
    wrong = wrong_points(truth, index.samples(j, OTHERS, rng), camera.width, rng, count=len(LETTERS))
    return () if wrong is None else choices(wrong)


def _absent_thing(index: SceneIndex, rng: np.random.Generator, form: str, label: str) -> Candidate:
    """As many images, in any order, as a question about a thing that is there has: they must not tell."""
    shown = rng.integers(IMAGES[0], IMAGES[-1] + 1)
    frames = tuple(rng.permutation(index.numbers)[:shown].tolist())
    bins: dict[str, int | str] = {"asks": form, "reason": "absent"}
    return Candidate(NOT_OBSERVED, frames, TRUTH, "text", "label", label=label, bins=bins, facts={"asks": form})
