"""What encoders take beside pixels, which depends on the grid of patches alone. NumPy only: those that run exported
encoders need no torch.

A grid is rows x columns of patches of ``PATCH`` pixels. All arrays are float32 unless said otherwise.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PATCH = 14  # pixels, of all encoders here
MERGE = 2  # patches of one token of the 2D encoder, in each direction
MASKED = -1e4  # added to a score: no weight remains, also in float16

Array = NDArray[np.float32]
Inputs = dict[str, NDArray]


@lru_cache(maxsize=8)
def aggregator_inputs(rows: int, columns: int, side: int) -> Inputs:
    """Of VGGT's aggregator, whose stored position embedding has ``side`` x ``side`` cells.

    Returns:
        row_places [rows], column_places [columns]: what patches are turned by; row_weights [rows, side],
        column_weights [columns, side]: how the stored embedding becomes that of the grid.
    """
    return {
        "row_places": np.arange(1, rows + 1, dtype=np.float32),
        "column_places": np.arange(1, columns + 1, dtype=np.float32),
        "row_weights": resizing(side, rows),
        "column_weights": resizing(side, columns),
    }


@lru_cache(maxsize=8)
def heads_inputs(rows: int, columns: int, patch: int = PATCH) -> Inputs:
    """Of VGGT's dense heads: places of cells and of pixels, in units of half the image's diagonal from its centre.

    Returns:
        cells_down [rows], cells_across [columns], pixels_down [rows * patch], pixels_across [columns * patch].
    """
    diagonal = float(np.hypot(rows, columns))
    down, across = rows / diagonal, columns / diagonal
    return {
        "cells_down": down * centres(rows),
        "cells_across": across * centres(columns),
        "pixels_down": down * centres(rows * patch),
        "pixels_across": across * centres(columns * patch),
    }


@lru_cache(maxsize=8)
def visual_inputs(rows: int, columns: int, window: int) -> Inputs:
    """Of Qwen2.5-VL's 2D encoder, whose patches come token by token (``MERGE`` x ``MERGE`` patches each).

    Args:
        rows, columns: even. window: side of a window of attention, in tokens; 0: it has none.
    Returns:
        places [tokens, 4, 2]: (row, column) of each patch. With windows, W of them: window_patches int32 [W, n], the
        patches of each, repeating the first where a window at the border has fewer than n; window_bias [W, n],
        ``MASKED`` at what is repeated; window_slots int32 [tokens, 4], where in the windows a patch is.
    """
    down, across = np.divmod(np.arange(rows * columns).reshape(rows, columns), columns)
    places = np.stack([_by_token(down), _by_token(across)], axis=-1).astype(np.float32)
    if not window:
        return {"places": places}
    tokens = np.arange(rows * columns // MERGE**2).reshape(rows // MERGE, columns // MERGE)
    size = window * window * MERGE**2
    patches, bias = [], []
    for top in range(0, len(tokens), window):
        for left in range(0, tokens.shape[1], window):
            inside = tokens[top : top + window, left : left + window].ravel()
            here = (inside[:, None] * MERGE**2 + np.arange(MERGE**2)).ravel()
            patches.append(np.pad(here, (0, size - len(here)), constant_values=here[0]))
            bias.append(np.where(np.arange(size) < len(here), 0, MASKED))
    flat = np.concatenate(patches)
    slots = np.empty(rows * columns, np.int32)
    real = np.flatnonzero(np.concatenate(bias) == 0)
    slots[flat[real]] = real
    return {
        "places": places,
        "window_patches": np.stack(patches).astype(np.int32),
        "window_bias": np.stack(bias).astype(np.float32),
        "window_slots": slots.reshape(-1, MERGE**2),
    }


def resizing(old: int, new: int) -> Array:
    """Weights [new, old] of an antialiased bicubic resize over the whole extent, Keys' kernel with a = -1/2."""
    scale = old / new
    wide = max(scale, 1.0)
    apart = np.abs(np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * scale) / wide
    near = (1.5 * apart - 2.5) * apart**2 + 1
    far = ((-0.5 * apart + 2.5) * apart - 4) * apart + 2
    weights = np.where(apart < 1, near, np.where(apart < 2, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def centres(cells: int) -> Array:
    """Centres of so many cells between -1 and 1."""
    return ((2 * np.arange(cells) + 1) / cells - 1).astype(np.float32)


def _by_token(values: NDArray) -> NDArray:
    """Values [rows, columns] of patches in the order in which they come, [tokens, 4]."""
    rows, columns = values.shape
    blocks = values.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE)
    return blocks.transpose(0, 2, 1, 3).reshape(-1, MERGE**2)
