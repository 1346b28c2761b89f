"""The camera head: from each frame's camera token to its pose and field of view."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import VGGTConfig
from .layers import Block, Float32, Mlp

POSE = 9  # translation 3, quaternion x y z w 4, field of view (vertical, horizontal) 2
BLOCKS = 4
REFINEMENTS = 4


class CameraHead(Float32):
    """Refines a pose encoding four times, each time conditioned on the one before (VGGT section 3.3).

    The condition shifts, scales and gates the normalised camera tokens, as in DiT (Peebles and Xie 2023, adaLN).
    """

    def __init__(self, config: VGGTConfig):
        super().__init__()
        dim = 2 * config.embed_dim
        self.trunk = nn.ModuleList(Block(dim, config.camera_heads) for _ in range(BLOCKS))
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE))
        self.embed_pose = nn.Linear(POSE, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.pose_branch = Mlp(dim, dim // 2, POSE)

    def forward(self, tokens: Tensor) -> Tensor:
        """Camera tokens [B, S, 2C] of the last layer -> pose encodings [B, S, 9], float32; see ``poses.py``."""
        return refine(self, tokens)[-1]


def refine(head: CameraHead, tokens: Tensor) -> list[Tensor]:
    """The pose encodings [B, S, 9] after each refinement, which takes the one before as a fixed number."""
    tokens = head.token_norm(tokens.float())
    plain = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
    known = head.empty_pose_tokens.expand(*tokens.shape[:2], -1)
    pose, steps = torch.zeros_like(known), []
    for _ in range(REFINEMENTS):
        shift, scale, gate = head.poseLN_modulation(head.embed_pose(known)).chunk(3, dim=-1)
        x = tokens + gate * (plain * (1 + scale) + shift)
        for block in head.trunk:
            x = block(x)
        pose = pose + head.pose_branch(head.trunk_norm(x))
        known = pose.detach()
        steps.append(torch.cat([pose[..., :7], F.relu(pose[..., 7:])], dim=-1))
    return steps
