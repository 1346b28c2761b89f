"""Bringing two coordinate frames together: similarity transforms, fitted so that wrong pairs do not matter."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .poses import Matrix, rigid

MOST_PAIRS = 4000
TRIPLES, JUDGES = 128, 400  # starting guesses, and the pairs that judge them
ROUNDS = 12
FLAT = 1e-6  # second extent of a point set, of its first, below which it is a line
SHORTEST_BASELINE = 0.05  # of the scene's depth; shorter ones say more about noise than about scale
POSE_NOISE = 0.005  # position error of a window's cameras that is expected at least, of the scene's depth


@dataclass(frozen=True, eq=False)
class Sim3:
    """target = scale * rotation @ source + translation."""

    scale: float = 1.0
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    translation: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def __matmul__(self, first: "Sim3") -> "Sim3":
        """The transform that applies ``first``, then this one."""
        moved = self.scale * self.rotation @ first.translation + self.translation
        return Sim3(self.scale * first.scale, self.rotation @ first.rotation, moved)

    def inverse(self) -> "Sim3":
        back = self.rotation.T / self.scale
        return Sim3(1 / self.scale, self.rotation.T, -back @ self.translation)

    def apply(self, points: NDArray) -> NDArray:
        """Points [..., 3] of the source frame in the target frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def rescaled(self, scale: float, around: NDArray) -> "Sim3":
        """The same with another scale; the point [3] of the source frame goes where it went before."""
        return Sim3(scale, self.rotation, self.translation + (self.scale - scale) * self.rotation @ around)

    def pose(self, source_from_camera: Matrix) -> Matrix:
        """target_from_camera of a camera: its place and its rotation; lengths it measures must be scaled apart."""
        return rigid(self.rotation @ source_from_camera[:3, :3], self.apply(source_from_camera[:3, 3]))


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted transform and how far it may be trusted.

    Attributes:
        transform: target_from_source.
        residual: median distance of a pair after it, relative to the size given for the pair.
        error: standard error of the scale, relative.
    """

    transform: Sim3
    residual: float
    error: float


def similarity(source: NDArray, target: NDArray, weights: NDArray | None = None, scale: float | None = None) -> Sim3:
    """The similarity transform of least weighted squares between pairs of points (Umeyama, PAMI 1991, eq. 40 to 43).

    Args:
        source, target: [N, 3].
        weights: [N], 0 or more; None weighs all pairs alike.
        scale: where it is known already, so that rotation and translation alone are fitted.
    Raises:
        ValueError: fewer than 3 pairs, values that are not finite, or points that lie on a line, or in one place.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    weights = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if source.shape != target.shape or source.shape[1:] != (3,) or weights.shape != source.shape[:1]:
        raise ValueError(f"source {source.shape}, target {target.shape}, weights {weights.shape}: expected [N, 3], [N]")
    if not (np.isfinite(source).all() and np.isfinite(target).all() and np.isfinite(weights).all()):
        raise ValueError("pairs of points or their weights are not finite")
    if (weights > 0).sum() < 3:
        raise ValueError(f"{int((weights > 0).sum())} pairs of points: expected at least 3")
    for name, points in (("source", source), ("target", target)):
        centred = points - np.average(points, axis=0, weights=weights)
        extents = np.linalg.svd(centred * np.sqrt(weights)[:, None], compute_uv=False)
        size = np.abs(points).max() * np.sqrt(weights.sum())
        if extents[1] <= FLAT * extents[0] or extents[0] <= 1e-12 * size:
            raise ValueError(f"{name} points lie on a line or in one place: no rotation can be told from them")
    fitted, rotation, translation = _umeyama(source, target, weights, scale)
    return Sim3(float(fitted), rotation, translation)


def robust_similarity(
    source: NDArray, target: NDArray, sizes: NDArray, weights: NDArray | None = None, scale: float | None = None
) -> Fit:
    """The similarity transform that most pairs of points agree on; up to four in ten may be wrong.

    The best of some triples of pairs by median error (LMedS; Rousseeuw 1984) is the start of weighted least squares in
    which pairs far off weigh little (Geman and McClure 1985). Deterministic.

    Args:
        source, target: [N, 3].
        sizes: [N], length in the target frame that the error of each pair is measured against, such as its depth.
        weights: [N], how much to trust each pair; None trusts all alike.
        scale: where it is known already; least squares make it too small by the noise of the source.
    Raises:
        ValueError: as :func:`similarity`.
    """
    source, target, sizes = (np.asarray(a, np.float64) for a in (source, target, sizes))
    trust = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    random = np.random.default_rng(0)
    if len(source) > MOST_PAIRS:
        some = random.choice(len(source), MOST_PAIRS, replace=False)
        source, target, sizes, trust = source[some], target[some], sizes[some], trust[some]
    similarity(source, target, trust)  # says what is wrong with them
    triples = random.integers(0, len(source), (TRIPLES, 3))
    scales, rotations, translations = _umeyama(source[triples], target[triples], np.ones(triples.shape), scale)
    judges = random.permutation(len(source))[:JUDGES]
    with np.errstate(invalid="ignore"):
        guesses = scales[:, None, None] * source[judges] @ rotations.transpose(0, 2, 1) + translations[:, None]
        errors = np.median(np.linalg.norm(target[judges] - guesses, axis=2) / sizes[judges], axis=1)
    best = int(np.nanargmin(errors)) if np.isfinite(errors).any() else 0
    fit = Sim3(float(scales[best]), rotations[best], translations[best])
    error = np.linalg.norm(target - fit.apply(source), axis=1) / sizes
    for _ in range(ROUNDS):
        spread = max(2 * float(np.median(error)), 1e-9)
        kept = trust / sizes**2 / (1 + (error / spread) ** 2) ** 2
        fit = similarity(source, target, kept, scale)
        error = np.linalg.norm(target - fit.apply(source), axis=1) / sizes
    residual = float(np.median(error))
    return Fit(fit, residual, residual / np.sqrt(len(source)))


def scale_from_depth(source: NDArray, target: NDArray) -> tuple[float, float]:
    """Scale between two depth readings of the same pixels, and their median relative disagreement after it.

    Args:
        source, target: [N] positive depths, in the two units.
    Raises:
        ValueError: there is no pair.
    """
    if not len(source):
        raise ValueError("no depth was read twice")
    ratios = np.log(np.asarray(target, np.float64)) - np.log(np.asarray(source, np.float64))
    middle = float(np.median(ratios))
    return float(np.exp(middle)), float(np.median(np.abs(np.expm1(ratios - middle))))


def scale_from_poses(world_from_camera: NDArray, window_from_camera: NDArray, depth: float) -> Fit | None:
    """Where a window lies in the world, from cameras whose poses are known in both; None where baselines are short.

    Scale is the weighted median of the ratios of baselines, between all pairs of cameras that are not too near each
    other, then refined with rotation and translation by least squares in which cameras far off weigh little.

    Args:
        world_from_camera, window_from_camera: [S, 4, 4].
        depth: typical depth of what the cameras see, in the window's unit.
    Returns:
        world_from_window. Its residual is the median over cameras of position error / depth + rotation error, in rad.
    """
    world, window = np.asarray(world_from_camera, np.float64), np.asarray(window_from_camera, np.float64)
    here, there = world[:, :3, 3], window[:, :3, 3]
    i, j = np.triu_indices(len(world), 1)
    known, seen = np.linalg.norm(here[i] - here[j], axis=1), np.linalg.norm(there[i] - there[j], axis=1)
    long = (seen > SHORTEST_BASELINE * depth) & (known > 0)
    if not long.any():
        return None
    ratios = known[long] / seen[long]
    scale = _weighted_median(ratios, seen[long])
    rotation = _middle_rotation(world[:, :3, :3] @ window[:, :3, :3].transpose(0, 2, 1))
    turned = there @ rotation.T
    translation = np.median(here - scale * turned, axis=0)
    for _ in range(ROUNDS):
        off = np.linalg.norm(here - scale * turned - translation, axis=1)
        kept = 1 / (1 + (off / max(2 * float(np.median(off)), 1e-9 * scale * depth)) ** 2) ** 2
        mean_here, mean_turned = np.average(here, 0, kept), np.average(turned, 0, kept)
        spread = float(kept @ ((here - mean_here) ** 2).sum(1))
        product = float(kept @ ((here - mean_here) * (turned - mean_turned)).sum(1))
        if product <= 0:
            break
        scale = spread / product  # errors are in the window's places, not in the known ones: regress on those
        translation = mean_here - scale * mean_turned
    off = np.linalg.norm(here - scale * turned - translation, axis=1) / (scale * depth)
    angle = _angles(rotation, world[:, :3, :3] @ window[:, :3, :3].transpose(0, 2, 1))
    baseline = float(np.sqrt((seen[long] ** 2).mean())) / depth
    error = max(POSE_NOISE, float(np.median(off))) * np.sqrt(2) / (baseline * np.sqrt(len(world) - 1))
    return Fit(Sim3(float(scale), rotation, translation), float(np.median(off + angle)), float(error))


def _umeyama(
    source: NDArray, target: NDArray, weights: NDArray, scale: float | None
) -> tuple[NDArray, NDArray, NDArray]:
    """Scale [...], rotation [..., 3, 3] and translation [..., 3] for pairs [..., N, 3] with weights [..., N]."""
    share = (weights / weights.sum(-1, keepdims=True))[..., None]
    mean_source, mean_target = (share * source).sum(-2), (share * target).sum(-2)
    source, target = source - mean_source[..., None, :], target - mean_target[..., None, :]
    u, singular, vt = np.linalg.svd((share * target).swapaxes(-1, -2) @ source)
    signs = np.ones_like(singular)
    signs[..., 2] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1, 1)  # a rotation, never a reflection
    rotation = (u * signs[..., None, :]) @ vt
    with np.errstate(divide="ignore", invalid="ignore"):
        best = (singular * signs).sum(-1) / (share * source**2).sum((-1, -2))
    fitted = best if scale is None else np.full_like(best, scale)
    return fitted, rotation, mean_target - fitted[..., None] * (rotation @ mean_source[..., None])[..., 0]


def _weighted_median(values: NDArray, weights: NDArray) -> float:
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2)])


def _middle_rotation(rotations: NDArray) -> NDArray[np.float64]:
    """The rotation that most of [S, 3, 3] are near: the best of them, then the mean of those near it."""
    totals = [float(np.median(_angles(rotation, rotations))) for rotation in rotations]
    best = int(np.argmin(totals))
    near = _angles(rotations[best], rotations) <= 3 * totals[best] + 1e-6
    return Rotation.from_matrix(rotations[near]).mean().as_matrix()


def _angles(rotation: NDArray, rotations: NDArray) -> NDArray[np.float64]:
    """Angles between a rotation and each of [S, 3, 3], radians."""
    return Rotation.from_matrix(rotation.T @ rotations).magnitude()
