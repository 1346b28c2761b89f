"""Questions about a clip of posed views, as many as one likes, answered from depth and poses.

The forms of the data engine that need no dot, on views that are kept on disk: before a small model can answer people's
questions it has to learn what numbers in a question have to do with places in an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.views import Views
from ..multispa.item import CAMERA_MOTION, NOT_OBSERVED, OBJECT_SIZE, Candidate, Point
from ..multispa.tasks import camera_motion, correspondence
from ..multispa.tasks.depth import DOTS_APART, LEAST_APART, LEAST_RATIO
from ..multispa.tasks.not_observed import BEHIND, COVERED, COVERED_SHARE, OUTSIDE, STILL_FORMS, TRUTH
from ..multispa.wording import word
from ..sft.records import Record
from .things import Things

UP = np.array([0.0, 0.0, 1.0])
FLAT = 0.05  # of the depth, that it may differ by in the 3 x 3 pixels around a point
WORDY = 0.2  # share of questions in all their words
AGREE = 0.03  # of the depth, that two views of the same point may differ by


@dataclass(frozen=True, eq=False)
class Clip:
    """Views of one scene in the order they are shown.

    Attributes:
        images: uint8 [S, H, W, 3]; depth: float32 [S, H, W] metres; poses: float64 [S, 4, 4], world_from_camera, the
        world's z upwards; intrinsics: float64 [S, 4].
        things: label, axis and size in metres of what all of the views show; absent: labels of what is not there.
    """

    images: NDArray[np.uint8]
    depth: NDArray[np.float32]
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    things: tuple[tuple[str, str, float], ...] = ()
    absent: tuple[str, ...] = ()

    @classmethod
    def of(cls, views: Views, chosen: Sequence[int], things: Things | None = None) -> "Clip":
        at = list(chosen)
        depth = views.depth[at].astype(np.float32)
        shown, missing = (tuple(things.shown(at)), things.absent) if things else ((), ())
        return cls(views.images[at], depth, views.world_from_camera[at], views.intrinsics[at], shown, missing)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.images.shape[2], self.images.shape[1]


def ask(clip: Clip, rng: np.random.Generator, count: int, hidden: bool = False) -> list[Record]:
    """Up to ``count`` questions with their answers: about depth in one image, about motion and matches between two.

    Half of them are about things where the clip knows enough of these: names are learnt by many examples only. Most are
    brief, some are in all the words of the data engine.

    Args:
        hidden: look also for matches of points that the second image does not show.
    """
    found = list(_of_one(clip, rng, count) if len(clip.images) == 1 else _of_two(clip, rng, count, hidden))
    found = [found[i] for i in rng.permutation(len(found))]
    things = [candidate for candidate in found if candidate.label][: count // 2]
    others = [candidate for candidate in found if not candidate.label][: count - len(things)]
    return [_record(candidate, clip.size, rng) for candidate in things + others]


def _of_one(clip: Clip, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    pixels = _points(clip, 0, rng, 3 * count)
    depth = clip.depth[0][pixels[:, 1], pixels[:, 0]].astype(float)
    for (u, v), z in zip(pixels[:count].tolist(), depth.tolist()):
        yield Candidate(
            "depth_estimation_coordinate", (0,), float(round(1000 * z)), "scalar", "coordinate", (Point(0, u, v),)
        )
    for i in range(count, len(pixels) - 1, 2):
        (a, b), (za, zb) = pixels[i : i + 2], depth[i : i + 2]
        near, far = sorted((za, zb))
        if (
            np.linalg.norm(a - b) >= DOTS_APART * clip.size[0]
            and far - near >= LEAST_APART
            and far >= LEAST_RATIO * near
        ):
            points = (Point(0, *a.tolist(), name="A"), Point(0, *b.tolist(), name="B"))
            yield Candidate("depth_comparison_coordinate", (0,), "AB"[int(za > zb)], "choice", "coordinate", points)


def _of_two(clip: Clip, rng: np.random.Generator, count: int, hidden: bool) -> Iterator[Candidate]:
    for kind in CAMERA_MOTION:
        yield from camera_motion.between(kind, clip.poses[:1], clip.poses[-1:], UP)
    if len(clip.images) == 2:
        yield from _matches(clip, rng, max(2, count // 3), hidden)
        yield from _sizes(clip, rng, count)


def _matches(clip: Clip, rng: np.random.Generator, count: int, hidden: bool) -> Iterator[Candidate]:
    """Where points of the first view are in the second; half as many of which it does not show."""
    pixels = _points(clip, 0, rng, 8 * count)
    places, shown, unseen = _found_again(clip, pixels)
    for k in np.flatnonzero(unseen & hidden)[: count // 2].tolist():
        point, facts = (Point(0, *pixels[k].tolist()),), {"asks": STILL_FORMS[0]}
        yield Candidate(NOT_OBSERVED, (0, 1), TRUTH, "text", "coordinate", point, facts=facts)
    for k in np.flatnonzero(shown)[:count].tolist():
        truth = correspondence.thousandths(places[k], *clip.size)
        yield Candidate(
            "correspondence_coordinate", (0, 1), truth, "pixel", "coordinate", (Point(0, *pixels[k].tolist()),)
        )


def _sizes(clip: Clip, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """How large things are; some that are not there."""
    for k in rng.permutation(len(clip.things))[:count].tolist():
        label, axis, size = clip.things[k]
        yield Candidate(f"object_{axis}", (0, 1), float(round(1000 * size)), "scalar", "label", label=label)
    for label in rng.permutation(clip.absent)[: count // 3].tolist():
        facts = {"asks": str(rng.choice(OBJECT_SIZE))}
        yield Candidate(NOT_OBSERVED, (0, 1), TRUTH, "text", "label", label=label, facts=facts)


def _found_again(
    clip: Clip, pixels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the second view would show pixels [N, 2] of the first, whether it does, and whether it surely does not."""
    z = clip.depth[0][pixels[:, 1], pixels[:, 0]]
    fx, fy, cx, cy = clip.intrinsics[0]
    local = np.stack([(pixels[:, 0] - cx) / fx * z, (pixels[:, 1] - cy) / fy * z, z, np.ones_like(z)], axis=1)
    there = (np.linalg.inv(clip.poses[1]) @ clip.poses[0] @ local.T).T
    fx, fy, cx, cy = clip.intrinsics[1]
    front = there[:, 2] > 0.1
    safe = np.where(front, there[:, 2], 1.0)
    places = np.rint(np.stack([there[:, 0] / safe * fx + cx, there[:, 1] / safe * fy + cy], axis=1))
    inside = front & (places >= 0).all(axis=1) & (places < clip.size).all(axis=1)
    margin = OUTSIDE * clip.size[0]
    beyond = front & ((places < -margin) | (places > np.array(clip.size) + margin)).any(axis=1)
    at = np.where(inside[:, None], places, 0).astype(np.int64)
    seen = clip.depth[1][at[:, 1], at[:, 0]]
    shown = inside & (np.abs(seen - there[:, 2]) <= AGREE * safe)
    covered = inside & (seen > 0) & (seen < safe - np.maximum(COVERED, COVERED_SHARE * safe))
    hidden = beyond | covered | (there[:, 2] < -BEHIND)
    return at, shown, hidden


def _points(clip: Clip, view: int, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Pixels (u, v) inside of surfaces, int64 [at most count, 2]."""
    width, height = clip.size
    u, v = rng.integers(1, width - 1, count), rng.integers(1, height - 1, count)
    around = np.stack([clip.depth[view][v + dv, u + du] for dv in (-1, 0, 1) for du in (-1, 0, 1)])
    flat = (around > 0).all(axis=0) & (around.max(axis=0) - around.min(axis=0) <= FLAT * around[4])
    return np.stack([u, v], axis=1)[flat]


def _record(candidate: Candidate, size: tuple[int, int], rng: np.random.Generator) -> Record:
    worded = word(candidate, size, rng, brief=rng.random() >= WORDY)
    bins = {"asks": candidate.facts["asks"]} if "asks" in candidate.facts else {}
    return {
        "id": candidate.question_type,
        "question_type": candidate.question_type,
        "images": [],
        "conversations": [{"from": "human", "value": worded.question}, {"from": "gpt", "value": worded.answer}],
        "gt_value": worded.gt_value,
        "meta": {"output": candidate.output, "options": list(worded.options), "bins": bins},
    }
