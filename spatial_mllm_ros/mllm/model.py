"""Spatial-MLLM (Wu et al. 2025, section 3.1): Qwen2.5-VL whose image tokens also carry what a VGGT sees in them.

frames -> 2D encoder (Qwen2.5-VL) -> tokens --+
   \\-> spatial encoder (VGGT) -> connector ---+--> language model
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .connector import Connector
from .packing import MERGE, PATCH_VALUES, unpatchify
from .positions import rope_index
from .spatial_config import SpatialMLLMConfig
from .vggt import VGGT, VGGTConfig

Grid = tuple[int, int, int]  # pairs of frames, rows and columns of patches


class SpatialEncoder(nn.Module):
    """The VGGT under the name that released checkpoints give it."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        self.vggt_model = VGGT(config)


class SpatialMLLMModel(Qwen2_5_VLModel):
    """The model without its output layer. ``get_video_features`` and ``get_image_features`` give fused tokens."""

    config: SpatialMLLMConfig

    def __init__(self, config: SpatialMLLMConfig):
        super().__init__(config)
        self.spatial_encoder = SpatialEncoder(config.vggt)
        self.connector = Connector(2 * config.vggt.embed_dim, config.text.hidden_size)

    def get_video_features(self, pixel_values_videos: Tensor, video_grid_thw: Tensor | None, **kwargs: Any) -> Any:
        """Fused tokens of videos; each video is one clip of the spatial encoder.

        Args:
            pixel_values_videos: [sum of t * h * w, 1176] patches of 2 frames, normalised as CLIP does.
            video_grid_thw: int64 [videos, 3].
        Returns:
            BaseModelOutputWithPooling; ``pooler_output`` holds [t * h/2 * w/2, hidden] for each video.
        Raises:
            ValueError: patches and grids do not fit.
        """
        grids = check_grids(pixel_values_videos, video_grid_thw)
        clips = [[i] for i in range(len(grids))]
        return self._fused(super().get_video_features, pixel_values_videos, video_grid_thw, clips, kwargs)

    def get_image_features(
        self,
        pixel_values: Tensor,
        image_grid_thw: Tensor | None,
        image_counts: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Fused tokens of images; those of one prompt and one size are one clip of the spatial encoder.

        The spatial encoder sees every image twice, as the 2D encoder does. Otherwise as ``get_video_features``.

        Args:
            image_counts: images of each prompt; None: all are of one prompt.
        """
        grids = check_grids(pixel_values, image_grid_thw)
        prompts = [prompt for prompt, n in enumerate(image_counts or [len(grids)]) for _ in range(n)]
        if len(prompts) != len(grids):
            raise ValueError(f"the prompts have tokens for {len(prompts)} images: {len(grids)} were given")
        clips: dict[tuple[int, ...], list[int]] = {}
        for i, (prompt, grid) in enumerate(zip(prompts, grids)):
            clips.setdefault((prompt, *grid), []).append(i)
        return self._fused(super().get_image_features, pixel_values, image_grid_thw, list(clips.values()), kwargs)

    def encode(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
    ) -> dict[str, BaseModelOutputWithPooling]:
        """What ``forward`` and ``generate`` take as ``mm_encoder_outputs`` in place of pixels, each once.

        Args:
            input_ids: [B, L]; tells which images belong together, where there are several prompts.
        """
        outputs: dict[str, BaseModelOutputWithPooling] = {}
        if pixel_values is not None:
            grids = check_grids(pixel_values, image_grid_thw)
            counts = None if input_ids is None else self._image_counts(input_ids, grids)
            outputs["image"] = self.get_image_features(pixel_values, image_grid_thw, image_counts=counts)
        if pixel_values_videos is not None:
            outputs["video"] = self.get_video_features(pixel_values_videos, video_grid_thw)
        return outputs

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As ``Qwen2_5_VLModel``; pixels and encoder outputs may come together where they are of different kinds."""
        grids = {name: kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")}
        encoded = self.encode(input_ids, pixel_values, pixel_values_videos, **grids)
        given = mm_encoder_outputs or {}
        if both := [kind for kind in encoded if given.get(kind) is not None]:
            raise ValueError(f"{both[0]}s are given as pixels and as encoder outputs: expected one of them")
        forward: Callable[..., Any] = super().forward
        return forward(input_ids=input_ids, mm_encoder_outputs={**given, **encoded}, **kwargs)

    def get_rope_index(
        self,
        input_ids: Tensor,
        mm_token_type_ids: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        second_per_grid_ts: Tensor | Sequence[float] | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Positions of prompts; see ``positions.rope_index``. ``mm_token_type_ids`` is not needed."""
        images, videos = ([] if grid is None else grid.tolist() for grid in (image_grid_thw, video_grid_thw))
        seconds = None if second_per_grid_ts is None else [float(s) for s in second_per_grid_ts]
        return rope_index(self.config, input_ids, images, videos, seconds, attention_mask)

    def compute_3d_position_ids(
        self,
        input_ids: Tensor | None,
        image_grid_thw: Tensor | None,
        video_grid_thw: Tensor | None,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        past_key_values: Any,
        second_per_grid_ts: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
    ) -> Tensor | None:
        """Positions of the tokens of one forward pass, [3, B, L]: of whole prompts, or of what follows a cache."""
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if past == 0:
            if input_ids is None:
                return None
            mask = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
            positions, self.rope_deltas = self.get_rope_index(
                input_ids, None, image_grid_thw, video_grid_thw, second_per_grid_ts, mask
            )
            return positions
        batch, length, _ = inputs_embeds.shape
        if attention_mask is not None and attention_mask.ndim == 2:
            index = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        else:
            index = torch.arange(past, past + length, device=inputs_embeds.device).expand(batch, -1)
        if self.rope_deltas is not None:
            index = index + self.rope_deltas.repeat_interleave(batch // len(self.rope_deltas), 0).to(index.device)
        return index.expand(3, -1, -1)

    def _fused(
        self,
        encode: Callable[..., Any],
        pixels: Tensor,
        grid_thw: Tensor | None,
        clips: list[list[int]],
        kwargs: dict[str, Any],
    ) -> Any:
        """Output of the 2D encoder, its tokens fused; each clip lists items of one grid that are seen together."""
        output = encode(pixels, grid_thw, **{**kwargs, "return_dict": True})
        grids = check_grids(pixels, grid_thw)
        patches = pixels.float().split([t * h * w for t, h, w in grids])
        tokens = list(output.pooler_output)
        for clip in clips:
            steps, (_, h, w) = [grids[i][0] for i in clip], grids[clip[0]]
            frames = torch.cat([unpatchify(patches[i], grids[i]) for i in clip])
            layer = self.config.spatial_layer
            layers, first = self.spatial_encoder.vggt_model.aggregate(frames[None], [layer])
            visual = torch.cat([tokens[i] for i in clip])
            fused = self.connector(visual, layers[layer][0, :, first:], (sum(steps), h, w))
            for i, part in zip(clip, fused.split([len(tokens[i]) for i in clip])):
                tokens[i] = part
        output.pooler_output = tuple(tokens)
        return output

    def _image_counts(self, input_ids: Tensor, grids: list[Grid]) -> list[int]:
        """Images of each prompt, from the image tokens in it."""
        sizes = iter([t * h * w // MERGE**2 for t, h, w in grids])
        counts = []
        for tokens in (input_ids == self.config.image_token_id).sum(-1).tolist():
            counts.append(0)
            while tokens > 0:
                tokens -= next(sizes, tokens)
                counts[-1] += 1
        return counts


class SpatialMLLMForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):
    """Spatial-MLLM with the arguments of transformers' Qwen2.5-VL; ``mm_token_type_ids`` may be left out."""

    config_class = SpatialMLLMConfig
    config: SpatialMLLMConfig
    model: SpatialMLLMModel

    def __init__(self, config: SpatialMLLMConfig):
        super(Qwen2_5_VLForConditionalGeneration, self).__init__(config)  # not its model: ours takes that place
        self.model = SpatialMLLMModel(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.text.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Not this way: transformers would leave weights of the released layout random and only warn."""
        raise NotImplementedError("a Spatial-MLLM is loaded with spatial_mllm_ros.mllm.load_model")

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As transformers' ``generate``; images and videos are encoded once, before the first token."""
        ids = kwargs.get("input_ids", inputs)
        pixels = {name: kwargs.pop(name, None) for name in ("pixel_values", "pixel_values_videos")}
        if ids is not None:
            kwargs.setdefault("mm_token_type_ids", self._token_types(ids))
        if any(value is not None for value in pixels.values()):
            grids = {name: kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")}
            with torch.no_grad():
                encoded = self.model.encode(ids, **pixels, **grids)
            kwargs["mm_encoder_outputs"] = {**(kwargs.get("mm_encoder_outputs") or {}), **encoded}
        generate: Callable[..., Any] = super().generate  # pyright: ignore[reportAttributeAccessIssue]
        return generate(inputs, *args, **kwargs)

    def _token_types(self, input_ids: Tensor) -> Tensor:
        """int64 [B, L]: 0 text, 1 image, 2 video; transformers asks for them to compute positions."""
        return (input_ids == self.config.image_token_id).long() + 2 * (input_ids == self.config.video_token_id)


def check_grids(pixels: Tensor, grid_thw: Tensor | None) -> list[Grid]:
    """The grids as numbers; ValueError unless they fit the patches [sum of t * h * w, 1176]."""
    if grid_thw is None:
        raise ValueError("pixel values without their grid: image_grid_thw or video_grid_thw is missing")
    grids = [(t, h, w) for t, h, w in grid_thw.tolist()]
    expected = [sum(t * h * w for t, h, w in grids), PATCH_VALUES]
    if list(pixels.shape) != expected:
        raise ValueError(f"pixel values {list(pixels.shape)} with grids {grids}: expected {expected}")
    return grids
