"""Training clips out of posed views: frames that share some of what they see, with what is true of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from .views import Views

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
LEAST_OVERLAP, WIDE = 0.06, 0.35  # of a pair; what questions are asked about is in between
LENGTHS = {1: 0.05, 2: 0.7, 4: 0.25}  # frames of a clip -> share of the batches
WIDE_SHARE = 0.6  # of clips, whose frames share no more than WIDE


@dataclass(frozen=True)
class Batch:
    """B clips of S frames.

    Attributes:
        images: uint8 [B, S, 3, H, W].
        depth: float32 [B, S, H, W] metres, 0 where there is none.
        first_from_camera: float32 [B, S, 4, 4], metres.
        intrinsics: float32 [B, S, 4], fx, fy, cx, cy.
        alone: frames do not meet: only what each shows by itself is learnt.
    """

    images: Tensor
    depth: Tensor
    first_from_camera: Tensor
    intrinsics: Tensor
    alone: bool = False


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
        count: batches in it.
        size: height and width of the images, pixels.
        alone: see ``Batch``.
    """

    count: int
    size: tuple[int, int]
    alone: bool = False


class ClipBatches(Dataset):
    """Batch number i is drawn by the seed and i alone, so a run that goes on sees what it would have seen.

    Args:
        phases: one after the other.
        clip_frames: frames in a batch; the number of its clips follows.
    """

    def __init__(self, scenes: Sequence[Views], phases: Sequence[Phase], seed: int, clip_frames: int):
        self.scenes, self.phases, self.seed, self.clip_frames = scenes, phases, seed, clip_frames

    def __len__(self) -> int:
        return sum(phase.count for phase in self.phases)

    def __getitem__(self, i: int) -> Batch:
        rng = np.random.default_rng([self.seed, i])
        frames = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
        clips = [self._clip(rng, frames) for _ in range(max(1, self.clip_frames // frames))]
        images, depth, poses, intrinsics = (torch.from_numpy(np.stack(part)) for part in zip(*clips))
        batch = Batch(images, depth, poses, intrinsics)
        phase = self._phase(i)
        batch = batch if batch.depth.shape[2:] == phase.size else resized(batch, phase.size)
        return replace(batch, alone=phase.alone)

    def _phase(self, i: int) -> Phase:
        """That of batch i; the last one goes on for ever."""
        ends = accumulate(phase.count for phase in self.phases)
        return next((phase for phase, end in zip(self.phases, ends) if i < end), self.phases[-1])

    def _clip(self, rng: np.random.Generator, frames: int) -> tuple[NDArray, ...]:
        views = self.scenes[int(rng.integers(len(self.scenes)))]
        chosen = choose(rng, views.overlap, frames, WIDE if rng.random() < WIDE_SHARE else 1.0)
        images, depth = views.images[chosen], views.depth[chosen].astype(np.float32)
        poses, intrinsics = views.world_from_camera[chosen], views.intrinsics[chosen].copy()
        if rng.random() < 0.5:
            images, depth = images[:, :, ::-1], depth[:, :, ::-1]
            poses = MIRROR @ poses @ MIRROR
            intrinsics[:, 2] = images.shape[2] - 1 - intrinsics[:, 2]
        images = recolour(rng, images)
        first_from_camera = np.linalg.inv(poses[0]) @ poses
        return (
            np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
            np.ascontiguousarray(depth),
            first_from_camera.astype(np.float32),
            intrinsics.astype(np.float32),
        )


def choose(rng: np.random.Generator, overlap: NDArray[np.float32], frames: int, most: float) -> list[int]:
    """Views of a clip in random order: each shares from ``LEAST_OVERLAP`` to ``most`` with one chosen before it.

    Where no such view is left, the one that shares most, and at last any.
    """
    chosen = [int(rng.integers(len(overlap)))]
    while len(chosen) < frames:
        best = overlap[chosen].max(axis=0).copy()
        best[chosen] = -1
        fitting = np.flatnonzero((best >= LEAST_OVERLAP) & (best <= most))
        if not len(fitting):
            fitting = np.flatnonzero(best >= LEAST_OVERLAP)
        left = np.setdiff1d(np.arange(len(overlap)), chosen)
        pool = fitting if len(fitting) else left if len(left) else np.array(chosen)
        chosen.append(int(rng.choice(pool)))
    return [chosen[i] for i in rng.permutation(frames)]


def recolour(rng: np.random.Generator, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Another exposure, white balance and contrast, the same for all frames of a clip: uint8 [S, H, W, 3]."""
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.93, 1.07, 3)
    gamma = rng.uniform(0.8, 1.25)
    levels = np.arange(256)[:, None] / 255
    table = np.rint(255 * np.clip(gain * levels**gamma, 0, 1)).astype(np.uint8)  # [256, 3]
    return np.stack([table[images[..., channel], channel] for channel in range(3)], axis=-1)


def resized(batch: Batch, size: tuple[int, int]) -> Batch:
    """The same clips at another height and width."""
    whole = batch.depth.shape[2:]
    images = F.interpolate(batch.images.flatten(0, 1), size, mode="bicubic", antialias=True)
    rows, columns = (((torch.arange(to) + 0.5) * of / to).long() for to, of in zip(size, whole))
    scale = torch.tensor([size[1] / whole[1], size[0] / whole[0]]).repeat(2)
    offset = torch.tensor([0.0, 0.0, 0.5, 0.5])
    return Batch(
        images.unflatten(0, batch.images.shape[:2]),
        batch.depth[:, :, rows][:, :, :, columns],
        batch.first_from_camera,
        (batch.intrinsics + offset) * scale - offset,
    )
