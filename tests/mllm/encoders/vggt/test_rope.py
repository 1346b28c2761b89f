import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.encoders.vggt.rope import grid_positions, rotate, rotation

place = st.integers(0, 60)


def turned(x: np.ndarray, row: int, column: int) -> np.ndarray:
    """One head's channels [D], turned as complex numbers by place * 100 ** (-i / (D / 4))."""
    quarter = len(x) // 4
    halves = []
    for half, at in zip(np.split(x, 2), (row, column)):
        z = half[:quarter] + 1j * half[quarter:]
        z = z * np.exp(1j * at * 100.0 ** (-np.arange(quarter) / quarter))
        halves += [z.real, z.imag]
    return np.concatenate(halves)


@given(row=place, column=place, quarter=st.integers(1, 16), seed=st.integers(0, 99))
def test_closed_form(row, column, quarter, seed):
    x = np.random.default_rng(seed).normal(size=4 * quarter)
    turn = rotation(torch.tensor([[row, column]]), 4 * quarter)
    found = rotate(torch.from_numpy(x)[None].float(), turn)
    np.testing.assert_allclose(found[0].numpy(), turned(x, row, column), atol=2e-5)


@given(a=st.tuples(place, place), b=st.tuples(place, place), shift=st.tuples(place, place))
def test_only_the_difference_of_places_matters(a, b, shift):
    q, k = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))

    def product(*moved: tuple[int, int]) -> float:
        at = torch.tensor([a, b]) + torch.tensor(moved)
        return float((rotate(q, rotation(at[:1], 16)) * rotate(k, rotation(at[1:], 16))).sum())

    assert abs(product((0, 0)) - product(shift)) < 1e-4 * max(1.0, float(q.norm() * k.norm()))


def test_places_of_a_frame():
    found = grid_positions(torch.arange(1, 3), torch.arange(1, 4), special=2).tolist()
    assert found == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]


def test_special_tokens_do_not_turn():
    x = torch.randn(7, 8)
    found = rotate(x, rotation(grid_positions(torch.ones(1), torch.arange(1.0, 3.0), special=5), 8))
    assert torch.equal(found[:5], x[:5]) and not torch.allclose(found[5:], x[5:])


def test_every_frame_of_a_clip_turns_alike():
    x = torch.randn(3, 6, 8)
    turn = rotation(grid_positions(torch.arange(2.0), torch.arange(3.0), special=0), 8)
    assert torch.equal(rotate(x.flatten(0, 1), turn.repeat(3)), rotate(x, turn).flatten(0, 1))


def test_the_number_format_is_kept():
    turn = rotation(torch.tensor([[1, 2]]), 8)
    assert rotate(torch.ones(1, 8, dtype=torch.bfloat16), turn).dtype == torch.bfloat16
