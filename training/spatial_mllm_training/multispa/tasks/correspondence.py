"""The same point in two images (Xu et al., 2025, section 3.1: visual correspondence)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..covisibility import SceneIndex
from ..distractors import wrong_points
from ..item import CORRESPONDENCE, LETTERS, Candidate, Point
from ..scene import Scene
from ..spread import spread

TYPES = CORRESPONDENCE
NEEDS = ("depth", "pose")
POINTS = 16  # shared points to choose from in a pair
OTHERS = 64  # points of the second image that wrong choices are taken from
TRIES = 4  # pairs looked at for each question that is wanted


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates of each type: pairs spread over their overlap, points over the second image."""
    pairs, overlaps = index.pairs()
    made: Counter[str] = Counter()
    used: Counter[tuple[str, int]] = Counter()
    for k in spread(overlaps, TRIES * count, rng).tolist():
        wanted = [kind for kind in TYPES if made[kind] < count]
        if not wanted:
            return
        i, j = rng.permutation(pairs[k]).tolist()
        here, there = index.co_visible(i, j, POINTS, rng)
        if not len(here):
            continue
        camera = index.scene.frames[j].camera
        cells = 3 * (3 * there[:, 1] // camera.height) + 3 * there[:, 0] // camera.width
        for kind in wanted:
            best = min(range(len(here)), key=lambda n, kind=kind: used[kind, int(cells[n])])
            bins: dict[str, int | str] = {"overlap": int(overlaps[k]), "place": int(cells[best])}
            point = Point(0, *here[best].tolist())
            if kind == "correspondence_coordinate":
                truth = thousandths(there[best], camera.width, camera.height)
                facts = {"answer_pixel": there[best].tolist()}
                yield Candidate(kind, (i, j), truth, "pixel", "coordinate", (point,), bins=bins, facts=facts)
            else:
                others = index.samples(j, OTHERS, rng)
                wrong = wrong_points(there[best], others, camera.width, rng, count=len(LETTERS) - 1)
                if wrong is None:
                    continue
                right = int(rng.integers(len(LETTERS)))
                points = point, *choices(np.insert(wrong, right, there[best], axis=0))
                bins["answer"] = LETTERS[right]
                yield Candidate(kind, (i, j), LETTERS[right], "choice", "dot", points, bins=bins)
            made[kind] += 1
            used[kind, int(cells[best])] += 1


def thousandths(pixel: NDArray[np.int64], width: int, height: int) -> list[float]:
    """A pixel (u, v) as [x, y] in whole thousandths of width and height."""
    return [float(1000 * int(pixel[0]) // width), float(1000 * int(pixel[1]) // height)]


def choices(pixels: NDArray[np.int64]) -> tuple[Point, ...]:
    """Pixels [4, 2] of the second image as lettered points."""
    return tuple(Point(1, *pixel, name=letter) for pixel, letter in zip(pixels.tolist(), LETTERS))
