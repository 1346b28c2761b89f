"""What the two encoders see, before the connector joins it: kept apart, it can be computed once and used again."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from .packing import MERGE, PAIR, PATCH_VALUES

Grid = tuple[int, int, int]  # pairs of frames, rows and columns of patches


@dataclass(frozen=True, eq=False)
class Seen:
    """Tokens of the images, or of the videos, of some prompts, one image or video after the other.

    Attributes:
        visual: [sum of t * h/2 * w/2, hidden] of the 2D encoder; None: still to be computed from pixels.
        spatial: [sum of 2t * h * w, spatial_dim] of the spatial encoder, frame after frame; None likewise.
    """

    visual: Tensor | None = None
    spatial: Tensor | None = None

    @property
    def complete(self) -> bool:
        """Whether pixels are not needed any more."""
        return self.visual is not None and self.spatial is not None

    def check(self, grids: Sequence[Grid]) -> None:
        """Raises ValueError unless the tokens are those of images or videos of these grids."""
        patches = sum(t * h * w for t, h, w in grids)
        for name, tokens, count in (
            ("visual", self.visual, patches // MERGE**2),
            ("spatial", self.spatial, patches * PAIR),
        ):
            if tokens is not None and (tokens.ndim != 2 or len(tokens) != count):
                raise ValueError(f"seen: {name} tokens {list(tokens.shape)} with grids {list(grids)}: expected {count}")

    def to(self, *args, **kwargs) -> "Seen":
        """As ``Tensor.to``, of both; what moves batches to a device calls it."""
        moved = [None if part is None else part.to(*args, **kwargs) for part in (self.visual, self.spatial)]
        return Seen(*moved)


def count_tokens(grid: Sequence[int]) -> int:
    """Tokens of the 2D encoder, and so of a prompt, for one image or video with grid (t, h, w)."""
    return prod(grid) // MERGE**2


def spatial_counts(grids: Sequence[Grid]) -> list[int]:
    """Tokens of the spatial encoder for each image or video."""
    return [t * h * w * PAIR for t, h, w in grids]


def check_grids(pixels: Tensor | None, grid_thw: Tensor | None, seen: Seen | None = None) -> list[Grid]:
    """The grids as numbers; ValueError unless they fit the patches [sum of t * h * w, 1176] and what was seen."""
    if grid_thw is None:
        raise ValueError("pixel values without their grid: image_grid_thw or video_grid_thw is missing")
    grids = [(t, h, w) for t, h, w in grid_thw.tolist()]
    if seen is not None:
        seen.check(grids)
    expected = [sum(t * h * w for t, h, w in grids), PATCH_VALUES]
    if pixels is None and not (seen and seen.complete):
        raise ValueError("no pixel values: expected them, or what both encoders saw")
    if pixels is not None and list(pixels.shape) != expected:
        raise ValueError(f"pixel values {list(pixels.shape)} with grids {grids}: expected {expected}")
    return grids
