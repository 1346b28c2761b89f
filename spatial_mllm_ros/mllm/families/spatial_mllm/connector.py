"""The connector: spatial tokens in the place and width of image tokens (Spatial-MLLM, Wu et al. 2025, section 3.1)."""

from collections.abc import Sequence

from torch import Tensor, nn

from .packing import MERGE, PAIR


class Connector(nn.Module):
    """Adds to every image token what the spatial encoder says about the same 2 frames of 2 x 2 patches.

    RMSNorm -> Linear -> GELU -> Linear on their joined tokens. Parameters carry the released names.
    """

    def __init__(self, spatial_dim: int, hidden_size: int):
        super().__init__()
        joined = spatial_dim * PAIR * MERGE * MERGE
        self.ln_q = nn.RMSNorm(joined, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(joined, joined), nn.GELU(), nn.Linear(joined, hidden_size))

    def forward(self, visual: Tensor, spatial: Tensor, grid: Sequence[int]) -> Tensor:
        """
        Args:
            visual: [t * h/2 * w/2, hidden] image tokens of one clip.
            spatial: [2t, h * w, spatial_dim] tokens of its frames' patches.
            grid: (t, h, w), pairs of frames and rows and columns of patches.
        Returns:
            [t * h/2 * w/2, hidden] fused tokens.
        """
        t, h, w = grid
        blocks = spatial.reshape(t, PAIR, h // MERGE, MERGE, w // MERGE, MERGE, spatial.shape[-1])
        joined = blocks.permute(0, 2, 4, 3, 5, 6, 1).flatten(3).flatten(0, 2)  # row, column, channel, frame
        return visual + self.mlp(self.ln_q(joined.to(self.ln_q.weight.dtype)))
