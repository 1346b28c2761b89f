"""What the demo asks about its simulated room, and what is true: from the exact depth, poses and boxes of the room."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spatial_mllm_ros.geometry.cameras import project, unproject
from spatial_mllm_ros.geometry.poses import inverse, transform
from spatial_mllm_ros.mllm import Answer, AnswerType, Question, Verdict
from spatial_mllm_ros.simulation import Room, SimFrame

SHARE = 0.2  # of the truth's norm, within which a number or a vector is right (Xu et al., 2025, section 5.1)
OVERLAP = (0.1, 0.6)  # of the first image that the second shows, for questions about two images
CLEAR = 0.4  # of the camera's way that goes sideways, where the side is asked for
STRIDE = 8  # pixels between those that overlap is counted with
PATCH = 0.01  # of the width, around a point whose depth is asked for, that has to be of the same surface
APART = 0.15  # of the nearer depth that two points differ by, where the nearer one is asked for
ABSENT = ("bed", "television", "wardrobe", "armchair", "laptop", "vase")  # the first that the room does not have
POINTS = "Coordinates are (x, y) in thousandths of the image's width and height, counted from the top left corner."
AXES = "Give the parts to the right, down and forward, in this order, along the axes of the first camera."
Check = Callable[[Answer, Sequence[int]], tuple[str, bool]]


@dataclass(frozen=True)
class Asking:
    """A question about the frames between two stamps, in the words that models are trained with.

    Attributes:
        check: from the answer and the stamps of its frames to the truth in words, and whether the answer is right.
    """

    question: Question
    start_ns: int
    end_ns: int
    check: Check

    @property
    def frames(self) -> int:
        return 1 if self.start_ns == self.end_ns else 2


class Truth:
    """What is true of the frames of a room, by their stamps; views are rendered when they are needed."""

    def __init__(self, room: Room):
        self.room = room
        self._views: dict[int, SimFrame] = {}

    def view(self, stamp_ns: int) -> SimFrame:
        if stamp_ns not in self._views:
            self._views[stamp_ns] = self.room.render(int(np.searchsorted(self.room.stamps, stamp_ns)))
        return self._views[stamp_ns]

    def moved(self, stamps: Sequence[int]) -> np.ndarray:
        """Where the camera of the last frame stands in the first camera's axes, [3] metres (right, down, forward)."""
        first, last = (self.view(stamp).frame.world_from_camera for stamp in (stamps[0], stamps[-1]))
        assert first is not None and last is not None
        return transform(inverse(first), last[:3, 3])

    def overlap(self, stamps: Sequence[int]) -> float:
        """Share of the first image that the last shows, hidden surfaces left out."""
        first, last = self.view(stamps[0]), self.view(stamps[-1])
        camera, (height, width) = first.frame.camera, first.exact_depth.shape
        v, u = (grid.ravel() for grid in np.mgrid[0:height:STRIDE, 0:width:STRIDE])
        here, there = first.frame.world_from_camera, last.frame.world_from_camera
        assert here is not None and there is not None
        points = transform(here, unproject(camera, np.stack([u, v], axis=1), first.exact_depth[v, u]))
        local = transform(inverse(there), points)
        pixels, seen = project(camera, local)
        whole = np.rint(pixels[seen]).astype(int).clip(0, [width - 1, height - 1])
        depth = local[seen, 2]
        return float((np.abs(last.exact_depth[whole[:, 1], whole[:, 0]] - depth) < 0.03 * depth).sum() / len(points))

    def points(self, stamp_ns: int, count: int = 200) -> list[tuple[int, int, float]]:
        """Pixels (u, v) on smooth surfaces, and their depth in metres; the same for the same frame."""
        view = self.view(stamp_ns)
        depth, (height, width) = view.exact_depth, view.exact_depth.shape
        rng, r, found = np.random.default_rng(stamp_ns % 2**32), max(1, round(PATCH * width)), []
        for u, v in zip(rng.integers(r, width - r, count), rng.integers(r, height - r, count)):
            patch = depth[v - r : v + r + 1, u - r : u + r + 1]
            if patch.min() > 0.5 and np.ptp(patch) < 0.05 * patch.min():
                found.append((int(u), int(v), float(depth[v, u])))
        return found

    def thousandths(self, u: int, v: int) -> tuple[int, int]:
        camera = self.room.cameras[0]
        return 1000 * u // camera.width, 1000 * v // camera.height


def askings(room: Room, stamps: Sequence[int]) -> Iterator[Asking]:
    """A question of each kind that the frames allow.

    Args:
        stamps: of frames that the node keeps, ascending; questions about two images are about neighbours among them.
    """
    truth = Truth(room)
    yield from about_one(truth, stamps)
    neighbours = list(pairwise(stamps))
    pairs = [pair for pair in neighbours if OVERLAP[0] <= truth.overlap(pair) <= OVERLAP[1]] or neighbours
    yield from about_motion(truth, pairs)
    yield from about_things(truth, pairs)


def about_one(truth: Truth, stamps: Sequence[int]) -> Iterator[Asking]:
    """How deep is a point, and which of two is nearer?"""
    stamp = stamps[len(stamps) // 2]
    points = truth.points(stamp)
    if not points:
        return
    u, v, depth = points[0]
    text = "How far in front of the camera is the point at ({}, {}), in millimetres?".format(*truth.thousandths(u, v))
    described = "This picture was taken by a robot that needs to know how far away things are."
    yield Asking(number(f"{described} {text} {POINTS}"), stamp, stamp, lambda answer, _: metres(answer, depth))
    other = next((p for p in points if not 1 / (1 + APART) < p[2] / depth < 1 + APART), None)
    if other is not None:
        a, b = (truth.thousandths(*p[:2]) for p in (points[0], other))
        nearer = "A" if depth < other[2] else "B"
        text = f"Which of points A at ({a[0]}, {a[1]}) and B at ({b[0]}, {b[1]}) is nearer to the camera?"
        said = Question(
            f"Judge depth from a single image. {text} {POINTS} Answer with its letter.", answer_type=AnswerType.TEXT
        )
        apart = f"{nearer}: {1000 * depth:.0f} and {1000 * other[2]:.0f} mm"
        yield Asking(said, stamp, stamp, lambda answer, _: (apart, word(answer) == nearer.lower()))


def about_motion(truth: Truth, pairs: Sequence[Sequence[int]]) -> Iterator[Asking]:
    """Which way, how far, and by what vector did the camera go?"""

    def sideways(pair: Sequence[int]) -> float:
        way = truth.moved(pair)
        return abs(way[0]) / max(float(np.linalg.norm(way)), 1e-9)

    side = max(pairs, key=sideways)
    if sideways(side) >= CLEAR:
        text = "Compare the two views and reason about the motion of the camera."
        text += " Did the camera move left or right from the first image to the second?"

        def to_side(answer: Answer, stamps: Sequence[int]) -> tuple[str, bool]:
            right = "right" if truth.moved(stamps)[0] > 0 else "left"
            return right, word(answer) == right

        yield Asking(Question(text, answer_type=AnswerType.TEXT), side[0], side[-1], to_side)
    far = max(pairs, key=lambda pair: float(np.linalg.norm(truth.moved(pair))))
    text = "From the change in view alone, judge the camera's own motion."
    text += " How far did the camera move between the two images, in millimetres?"
    yield Asking(number(text), far[0], far[-1], lambda a, used: metres(a, float(np.linalg.norm(truth.moved(used)))))
    text = "The first image is the reference; describe the second camera relative to it."
    text += f" How far to the right, down and forward did the camera move, in mm? {AXES}"
    asked = Question(text, answer_type=AnswerType.VECTOR)
    yield Asking(asked, far[0], far[-1], lambda answer, used: vector(answer, truth.moved(used)))


def about_things(truth: Truth, pairs: Sequence[Sequence[int]]) -> Iterator[Asking]:
    """How high is a thing that is there, and one that is not?"""
    labels = [thing.label for thing in truth.room.objects]
    text = "Take the room as your ruler, and measure an object in these two images. How tall is the {}, in millimetres?"
    best = max(
        (
            (shown(truth, pair, k), k, pair)
            for pair in pairs
            for k, label in enumerate(labels)
            if labels.count(label) == 1 and truth.room.objects[k].size[2] >= 0.02
        ),
        default=None,
        key=lambda row: row[:2],
    )
    if best is not None and best[0]:
        k, pair = best[1], best[2]
        height = float(truth.room.objects[k].size[2])

        def tall(answer: Answer, used: Sequence[int]) -> tuple[str, bool]:
            if not any((truth.view(stamp).object_ids == k).any() for stamp in used):  # the node chose other frames
                return "these frames do not show it", answer.verdict == Verdict.NOT_OBSERVED
            return metres(answer, height)

        yield Asking(number(text.format(labels[k])), pair[0], pair[-1], tall)
    absent = next((label for label in ABSENT if all(label not in known for known in labels)), None)
    if absent is not None:
        pair = pairs[len(pairs) // 2]
        refused = f"there is no {absent} in the room"
        yield Asking(
            number(text.format(absent)),
            pair[0],
            pair[-1],
            lambda answer, _: (refused, answer.verdict == Verdict.NOT_OBSERVED),
        )


def shown(truth: Truth, pair: Sequence[int], thing: int) -> int:
    """Pixels of a thing in the one of two images that shows more of it; 0 where the border cuts it off there."""
    best = 0
    for stamp in pair:
        ids = truth.view(stamp).object_ids == thing
        border = ids[0].any() or ids[-1].any() or ids[:, 0].any() or ids[:, -1].any()
        best = max(best, 0 if border else int(ids.sum()))
    return best


def number(text: str) -> Question:
    return Question(text, answer_type=AnswerType.NUMBER)


def word(answer: Answer) -> str:
    """The answer's text for comparing, of ``B.`` the letter; empty where it is none."""
    return answer.text.strip(" .()").casefold() if answer.verdict == Verdict.ANSWERED else ""


def metres(answer: Answer, true: float) -> tuple[str, bool]:
    return f"{1000 * true:.0f} mm", answer.unit == "m" and abs(answer.value - true) <= SHARE * true


def vector(answer: Answer, true: np.ndarray) -> tuple[str, bool]:
    close = float(np.linalg.norm(np.array(answer.vector) - true)) <= SHARE * float(np.linalg.norm(true))
    right, down, forward = (f"{1000 * part:.0f}" for part in true)
    return f"({right}, {down}, {forward}) mm", answer.verdict == Verdict.ANSWERED and close
