"""What is asked of a VGGT (Wang et al., CVPR 2025, section 3.4): cameras, depth, points, and who matches whom.

Two things are added for small models that learn from little. Each patch's token alone must say how far away and where
its parts are, so that what reads the tokens finds geometry in them. And patches of different frames that show the same
place must be alike before frames meet (InfoNCE, van den Oord et al. 2018), in place of the track head's loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_mllm_ros.mllm.encoders.vggt import VGGT
from spatial_mllm_ros.mllm.encoders.vggt.aggregator import SPECIAL
from spatial_mllm_ros.mllm.encoders.vggt.camera_head import POSE, refine
from spatial_mllm_ros.mllm.encoders.vggt.dense_head import places_of, signed_log1p
from spatial_mllm_ros.mllm.encoders.vggt.layers import Attention
from spatial_mllm_ros.mllm.encoders.vggt.rope import Rotation

from .clips import Batch

DECAY = 0.6  # of the weight of earlier refinements of a camera
CONFIDENCE = 0.2  # alpha of section 3.4
PARTS = 2  # of a patch, in each direction, that its token tells the geometry of
GUIDED = 1  # the block across frames, one of whose heads is shown where to look
MATCH_DIM, TEMPERATURE = 64, 0.1
NEAREST = 0.1  # metres, in front of a camera that sees a point
VISIBLE, VISIBLE_SHARE = 0.05, 0.05  # metres, and of the depth, that depths may differ by at the same place


class GeometryLoss(nn.Module):
    """A VGGT with what is needed to train it; only the VGGT is kept.

    Args:
        dense_frames: frames of a batch that the dense heads are run on, each time others; they cost most.
    """

    def __init__(self, vggt: VGGT, dense_frames: int = 8):
        super().__init__()
        self.vggt, self.dense_frames = vggt, dense_frames
        dim = vggt.config.embed_dim
        self.patch_norm = nn.LayerNorm(2 * dim)
        self.patch_geometry = nn.Linear(2 * dim, 4 * PARTS**2)  # log depth and a point for each part
        self.patch_camera = nn.Linear(2 * dim, POSE)
        self.alone_depth = nn.Linear(dim, PARTS**2)
        self.match = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, MATCH_DIM))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses by name; ``loss`` is their sum."""
        if batch.alone:
            return self._alone(batch)
        vggt, config = self.vggt, self.vggt.config
        last = config.depth - 1
        images = batch.images.float() / 255
        alone: list[Tensor] = []  # tokens before frames meet
        met: list[tuple[Attention, Tensor, Rotation]] = []  # what the first attention across frames is given
        encoder = vggt.get_submodule("aggregator.patch_embed")
        guided = vggt.get_submodule(f"aggregator.global_blocks.{GUIDED}.attn")
        hooks = [
            encoder.register_forward_hook(lambda *call: alone.append(call[2])),
            guided.register_forward_hook(lambda *call: met.append((call[0], *call[1]))),
        ]
        try:
            tokens, _ = vggt.aggregate(images, {last, *config.dpt_layers}, chunk=images.shape[0] * images.shape[1])
        finally:
            for hook in hooks:
                hook.remove()
        points = first_points(batch)
        poses = encode_poses(batch)
        losses = {"camera": self._camera(tokens[last][:, :, 0], poses)}
        losses |= self._patches(self.patch_norm(tokens[last][:, :, SPECIAL:].float()), batch, points, poses)
        losses["match"] = self._match(alone[0].unflatten(0, batch.depth.shape[:2]), batch, points)
        losses["guide"] = self._guide(*met[0], batch, points)
        losses |= self._dense(tokens, batch.depth, points)
        return losses | {"loss": sum(losses.values(), start=torch.zeros(()))}

    def _alone(self, batch: Batch) -> dict[str, Tensor]:
        """What each frame shows by itself: depth, and what tells a place from others. Frames do not meet."""
        images = batch.images.float() / 255
        tokens = self.vggt.aggregator.encode(images, chunk=images.shape[0] * images.shape[1])
        tokens = tokens.unflatten(0, batch.depth.shape[:2])
        z = self._parts(batch.depth)
        said = self._of_parts(self.alone_depth(tokens.float()), batch.depth)[..., 0]
        depth = mean_of((said - z.clamp(min=1e-3).log()).abs(), z > 0)
        match = 5 * self._match(tokens, batch, first_points(batch))
        return {"alone_depth": depth, "match": match, "loss": depth + match}

    def _camera(self, tokens: Tensor, truth: Tensor) -> Tensor:
        steps = refine(self.vggt.camera_head, tokens)
        weight = [DECAY ** (len(steps) - 1 - i) for i in range(len(steps))]
        each = [w * F.smooth_l1_loss(step, truth, beta=0.1) for w, step in zip(weight, steps)]
        return 3 * sum(each, start=torch.zeros(())) / sum(weight)

    def _patches(self, tokens: Tensor, batch: Batch, points: Tensor, poses: Tensor) -> dict[str, Tensor]:
        """Geometry of the parts of each patch, and of its camera, from its token: tokens [B, S, P, 2C].

        Points that the first frame sees too are told apart: they are what can be found by looking there.
        """
        camera = F.smooth_l1_loss(
            self.patch_camera(tokens), poses[:, :, None].expand(-1, -1, tokens.shape[2], -1), beta=0.1
        )
        said = self._of_parts(self.patch_geometry(tokens), batch.depth)
        z, xyz = self._parts(batch.depth), self._parts(points)
        known = z > 0
        error = (said[..., 1:] - signed_log1p(xyz)).abs().mean(-1)
        shared = known & seen_by_first(xyz, batch)[1]
        shared[:, 0] = False
        return {
            "patch_camera": 1.5 * camera,
            "patch_depth": mean_of((said[..., 0] - z.clamp(min=1e-3).log()).abs(), known),
            "patch_points": mean_of(error, known),
            "shared_points": 3 * mean_of(error, shared),
        }

    def _parts(self, pixels: Tensor) -> Tensor:
        """Of [B, S, H, W, ...] the pixels in the middle of each patch's parts."""
        step = self.vggt.config.patch_size // PARTS
        centre = slice(step // 2, None, step)
        return pixels[:, :, centre, centre]

    def _of_parts(self, said: Tensor, depth: Tensor) -> Tensor:
        """What patches say of their parts, [B, S, P, PARTS**2 * n], in the places of ``_parts``, [B, S, h, w, n]."""
        said = said.unflatten(2, (depth.shape[2] // self.vggt.config.patch_size, -1))
        said = said.unflatten(-1, (PARTS, PARTS, -1))
        return said.permute(0, 1, 2, 4, 3, 5, 6).flatten(4, 5).flatten(2, 3)

    def _match(self, tokens: Tensor, batch: Batch, points: Tensor) -> Tensor:
        """InfoNCE between patches of the first frame and of each other one that show the same place."""
        patch = self.vggt.config.patch_size
        zero = tokens.sum() * 0
        if batch.depth.shape[1] < 2:
            return zero
        features = F.normalize(self.match(tokens), dim=-1)  # [B, S, P, D]
        centre = slice(patch // 2, None, patch)
        seen = points[:, :1, centre, centre].flatten(2, 3)  # [B, 1, P, 3] of the first frame
        known = batch.depth[:, :1, centre, centre].flatten(2) > 0
        index, visible = project_into(seen, batch)  # [B, S, P], [B, S, P]
        visible &= known
        visible[:, 0] = False
        column, row = index[..., 0] // patch, index[..., 1] // patch
        target = row * (batch.depth.shape[3] // patch) + column
        scores = torch.einsum("bpd,bsqd->bspq", features[:, 0], features) / TEMPERATURE
        if not visible.any():
            return zero
        return 0.2 * F.cross_entropy(scores[visible], target[visible])

    def _guide(self, attn: Attention, x: Tensor, turn: Rotation, batch: Batch, points: Tensor) -> Tensor:
        """Of one head across frames: patches that the first frame sees too should look there."""
        patch, frames = self.vggt.config.patch_size, batch.depth.shape[1]
        centre = slice(patch // 2, None, patch)
        pixel, seen = seen_by_first(points[:, :, centre, centre], batch)
        seen &= batch.depth[:, :, centre, centre] > 0
        seen[:, 0] = False
        if not seen.any():
            return x.sum() * 0
        q, k, _ = attn.project(x, turn)
        q, k = (part[:, 0].unflatten(1, (frames, -1)) for part in (q, k))  # [B, S, P, D] of the first head
        clip, frame, row, column = seen.nonzero(as_tuple=True)
        columns = batch.depth.shape[3] // patch
        asked = q[clip, frame, SPECIAL + row * columns + column]
        scores = torch.einsum("nd,nkd->nk", asked, k.flatten(1, 2)[clip]) / q.shape[-1] ** 0.5
        place = pixel[seen] // patch
        return 0.2 * F.cross_entropy(scores, SPECIAL + place[:, 1] * columns + place[:, 0])

    def _dense(self, tokens: dict[int, Tensor], depth: Tensor, points: Tensor) -> dict[str, Tensor]:
        """The dense heads on some of the frames (DUSt3R's confidence-weighted loss, with gradients across pixels)."""
        config, size = self.vggt.config, depth.shape[2:]
        grid = size[0] // config.patch_size, size[1] // config.patch_size
        picked = torch.randperm(depth.shape[0] * depth.shape[1])[: self.dense_frames]
        levels = [tokens[layer].flatten(0, 1)[picked, SPECIAL:] for layer in config.dpt_layers]
        z, xyz = depth.flatten(0, 1)[picked], points.flatten(0, 1)[picked]
        known = z > 0
        places = places_of(grid, config.patch_size, depth.device)
        far, far_sure = self.vggt.depth_head(levels, *places)
        place, place_sure = self.vggt.point_head(levels, *places)
        return {
            "depth": dense_loss(far, z[..., None], far_sure, known),
            "points": dense_loss(place, xyz, place_sure, known),
        }


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values, 0 where there are none."""
    return values[chosen].mean() if chosen.any() else values.sum() * 0


def seen_at(points: Tensor, intrinsics: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Where cameras see points [..., P, 3] of their own frames, by their intrinsics [..., 4] and depth [..., H, W].

    Returns:
        int64 [..., P, 2] pixels (column, row), inside the image; bool [..., P], where the depth there agrees.
    """
    height, width = depth.shape[-2:]
    z = points[..., 2].clamp(min=1e-3)
    fx, fy, cx, cy = (intrinsics[..., i, None] for i in range(4))
    u, v = (points[..., 0] / z * fx + cx).round(), (points[..., 1] / z * fy + cy).round()
    inside = (points[..., 2] > NEAREST) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    pixel = torch.stack([u.clamp(0, width - 1), v.clamp(0, height - 1)], dim=-1).long()
    there = depth.flatten(-2).gather(-1, pixel[..., 1] * width + pixel[..., 0])
    return pixel, inside & ((there - z).abs() <= (VISIBLE_SHARE * z).clamp(min=VISIBLE))


def seen_by_first(points: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """:func:`seen_at` of points [B, S, h, w, 3] in the first camera, which has their frame: [B, S, h, w, ...]."""
    found = seen_at(points.flatten(1, 3), batch.intrinsics[:, 0], batch.depth[:, 0])
    pixel, seen = (part.unflatten(1, points.shape[1:4]) for part in found)
    return pixel, seen


def dense_loss(said: Tensor, truth: Tensor, confidence: Tensor, known: Tensor) -> Tensor:
    """c |error| + c |gradient of error| - alpha log c, over known pixels; errors relative to 1 + |truth|.

    Args:
        said, truth: [N, H, W, n]; confidence, known: [N, H, W].
    """
    if not known.any():
        return said.sum() * 0
    error = (said - truth) / (1 + truth.norm(dim=-1, keepdim=True))
    size = error.abs().sum(-1)
    down = (error[:, 1:] - error[:, :-1]).abs().sum(-1) * (known[:, 1:] & known[:, :-1])
    across = (error[:, :, 1:] - error[:, :, :-1]).abs().sum(-1) * (known[:, :, 1:] & known[:, :, :-1])
    size = size + F.pad(down, (0, 0, 0, 1)) + F.pad(across, (0, 1))
    return (confidence * size - CONFIDENCE * confidence.log())[known].mean()


def encode_poses(batch: Batch) -> Tensor:
    """Pose encodings [B, S, 9] of the true cameras; see ``mllm.encoders.vggt.poses``."""
    height, width = batch.depth.shape[2:]
    rotation = batch.first_from_camera[..., :3, :3].transpose(-1, -2)
    translation = -rotation @ batch.first_from_camera[..., :3, 3:]
    size = torch.tensor([height, width], device=batch.depth.device)
    fov = 2 * torch.atan(size / (2 * batch.intrinsics[..., [1, 0]]))
    return torch.cat([translation[..., 0], quaternion(rotation), fov], dim=-1)


def quaternion(rotation: Tensor) -> Tensor:
    """x y z w, w at least 0, of rotations [..., 3, 3]."""
    from scipy.spatial.transform import Rotation

    flat = Rotation.from_matrix(rotation.double().reshape(-1, 3, 3).cpu().numpy()).as_quat(canonical=True)
    return torch.from_numpy(flat).float().reshape(*rotation.shape[:-2], 4).to(rotation.device)


def first_points(batch: Batch) -> Tensor:
    """Points of all pixels in the first frame's camera, float32 [B, S, H, W, 3] metres."""
    height, width = batch.depth.shape[2:]
    fx, fy, cx, cy = (batch.intrinsics[..., i, None, None] for i in range(4))
    rows, columns = (torch.arange(count, device=batch.depth.device) for count in (height, width))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    rays = torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones_like(batch.depth)], dim=-1)
    camera = rays * batch.depth[..., None]
    rotation, origin = batch.first_from_camera[..., :3, :3], batch.first_from_camera[..., :3, 3]
    return torch.einsum("bsij,bshwj->bshwi", rotation, camera) + origin[:, :, None, None]


def project_into(points: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """:func:`seen_at` of points [B, 1, P, 3] of the first camera's frame in every frame: [B, S, P, ...]."""
    camera_from_first = torch.linalg.inv(batch.first_from_camera)
    local = torch.einsum("bsij,bpj->bspi", camera_from_first[..., :3, :3], points[:, 0])
    return seen_at(local + camera_from_first[:, :, None, :3, 3], batch.intrinsics, batch.depth)
