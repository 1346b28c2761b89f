"""What encoders take beside pixels, against counting by hand and against torch's own resize."""

import subprocess
import sys

import numpy as np
import pytest

from spatial_mllm_ros.mllm.encoders.grid import MASKED, aggregator_inputs, heads_inputs, resizing, visual_inputs


@pytest.mark.parametrize("old, new", [(37, 34), (37, 46), (10, 8), (4, 4), (10, 3), (1, 5)])
def test_resizing_is_torchs_antialiased_bicubic(old, new):
    torch = pytest.importorskip("torch")
    cells = torch.eye(old)[None, None]
    expected = torch.nn.functional.interpolate(cells, size=(new, old), mode="bicubic", antialias=True)
    np.testing.assert_allclose(resizing(old, new), expected[0, 0].numpy(), atol=1e-5)  # of places, rounded to float32


def test_the_stored_size_is_not_changed_at_all():
    np.testing.assert_array_equal(resizing(37, 37), np.eye(37))


def test_places_of_patches_begin_at_one():
    given = aggregator_inputs(2, 3, side=4)
    assert given["row_places"].tolist() == [1, 2] and given["column_places"].tolist() == [1, 2, 3]
    assert given["row_weights"].shape == (2, 4) and given["column_weights"].shape == (3, 4)


def test_places_are_units_of_half_the_diagonal():
    given = heads_inputs(3, 4, patch=2)
    np.testing.assert_allclose(given["cells_down"], [-0.4, 0, 0.4], atol=1e-7)
    np.testing.assert_allclose(given["cells_across"], [-0.6, -0.2, 0.2, 0.6], atol=1e-7)
    assert len(given["pixels_down"]) == 6 and given["pixels_across"][0] == pytest.approx(-0.8 * 7 / 8)


def test_patches_come_token_by_token():
    assert visual_inputs(2, 4, 0)["places"].tolist() == [
        [[0, 0], [0, 1], [1, 0], [1, 1]],
        [[0, 2], [0, 3], [1, 2], [1, 3]],
    ]


@pytest.mark.parametrize("rows, columns, window", [(4, 4, 2), (6, 10, 2), (8, 10, 4), (2, 2, 4), (34, 46, 4)])
def test_windows_hold_every_patch_once_and_only_neighbours(rows, columns, window):
    given = visual_inputs(rows, columns, window)
    patches, real = given["window_patches"], given["window_bias"] == 0
    assert sorted(patches[real]) == list(range(rows * columns))
    assert set(given["window_bias"][~real]) <= {MASKED} and real.any(1).all()
    token = given["places"].reshape(-1, 2) // 2
    for inside, own in zip(patches, real):
        assert len({tuple(place) for place in token[inside[own]] // window}) == 1
    np.testing.assert_array_equal(patches.ravel()[given["window_slots"].ravel()], np.arange(rows * columns))


def test_needs_no_torch():
    code = "import sys; import spatial_mllm_ros.mllm.encoders.grid; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
