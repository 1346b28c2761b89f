"""Spatial-MLLM (Wu et al. 2025, section 3.1): Qwen2.5-VL whose image tokens also carry what a VGGT sees in them.

frames -> 2D encoder (Qwen2.5-VL) -> tokens --+
   \\-> spatial encoder (VGGT) -> connector ---+--> language model
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .connector import Connector
from .packing import MERGE, unpatchify
from .positions import rope_index
from .seen import Grid, Seen, check_grids, spatial_counts, visual_counts
from .spatial_config import SpatialMLLMConfig
from .vggt import VGGT, VGGTConfig


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

    def get_video_features(
        self,
        pixel_values_videos: Tensor | None,
        video_grid_thw: Tensor | None,
        seen: Seen | None = None,
        **kwargs: Any,
    ) -> Any:
        """Fused tokens of videos; each video is one clip of the spatial encoder.

        Args:
            pixel_values_videos: [sum of t * h * w, 1176] patches of 2 frames, normalised as CLIP does.
            video_grid_thw: int64 [videos, 3].
            seen: what an encoder saw in them before; that one does not run. Of both: no pixels are needed.
        Returns:
            BaseModelOutputWithPooling; ``pooler_output`` holds [t * h/2 * w/2, hidden] for each video.
        Raises:
            ValueError: patches, or what was seen, and grids do not fit.
        """
        grids = check_grids(pixel_values_videos, video_grid_thw, seen)
        clips = [[i] for i in range(len(grids))]
        encode = super().get_video_features
        output, seen = self._see(encode, pixel_values_videos, video_grid_thw, clips, seen, kwargs)
        output.pooler_output = self._fuse(seen, grids, clips)
        return output

    def get_image_features(
        self,
        pixel_values: Tensor | None,
        image_grid_thw: Tensor | None,
        image_counts: Sequence[int] | None = None,
        seen: Seen | None = None,
        **kwargs: Any,
    ) -> Any:
        """Fused tokens of images; those of one prompt and one size are one clip of the spatial encoder.

        The spatial encoder sees every image twice, as the 2D encoder does. Otherwise as ``get_video_features``.

        Args:
            image_counts: images of each prompt; None: all are of one prompt.
        """
        grids = check_grids(pixel_values, image_grid_thw, seen)
        prompts = [prompt for prompt, n in enumerate(image_counts or [len(grids)]) for _ in range(n)]
        if len(prompts) != len(grids):
            raise ValueError(f"the prompts have tokens for {len(prompts)} images: {len(grids)} were given")
        clips: dict[tuple[int, ...], list[int]] = {}
        for i, (prompt, grid) in enumerate(zip(prompts, grids)):
            clips.setdefault((prompt, *grid), []).append(i)
        encode, together = super().get_image_features, list(clips.values())
        output, seen = self._see(encode, pixel_values, image_grid_thw, together, seen, kwargs)
        output.pooler_output = self._fuse(seen, grids, together)
        return output

    def see(self, pixel_values_videos: Tensor, video_grid_thw: Tensor) -> Seen:
        """What both encoders see in videos, each video a clip: what ``forward`` takes as ``seen={"video": ...}``."""
        clips = [[i] for i in range(len(check_grids(pixel_values_videos, video_grid_thw)))]
        return self._see(super().get_video_features, pixel_values_videos, video_grid_thw, clips, None, {})[1]

    def encode(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        seen: Mapping[str, Seen] | None = None,
    ) -> dict[str, BaseModelOutputWithPooling]:
        """What ``forward`` and ``generate`` take as ``mm_encoder_outputs`` in place of pixels, each once.

        Args:
            input_ids: [B, L]; tells which images belong together, where there are several prompts.
            seen: what encoders saw before, of the ``image``s and of the ``video``s.
        """
        outputs: dict[str, BaseModelOutputWithPooling] = {}
        images, videos = ((seen or {}).get(kind) for kind in ("image", "video"))
        if pixel_values is not None or images is not None:
            grids = check_grids(pixel_values, image_grid_thw, images)
            counts = None if input_ids is None else self._image_counts(input_ids, grids)
            outputs["image"] = self.get_image_features(pixel_values, image_grid_thw, image_counts=counts, seen=images)
        if pixel_values_videos is not None or videos is not None:
            outputs["video"] = self.get_video_features(pixel_values_videos, video_grid_thw, seen=videos)
        return outputs

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        seen: Mapping[str, Seen] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As ``Qwen2_5_VLModel``; pixels and encoder outputs may come together where they are of different kinds.

        ``seen`` (see ``encode``) takes the place of encoders, not of the connector: gradients reach that.
        """
        grids = {name: kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")}
        encoded = self.encode(input_ids, pixel_values, pixel_values_videos, **grids, seen=seen)
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

    def _see(
        self,
        encode: Callable[..., Any],
        pixels: Tensor | None,
        grid_thw: Tensor | None,
        clips: list[list[int]],
        seen: Seen | None,
        kwargs: dict[str, Any],
    ) -> tuple[Any, Seen]:
        """Output of the 2D encoder, and what both see; each clip lists items of one grid that are seen together."""
        visual, spatial = (None, None) if seen is None else (seen.visual, seen.spatial)
        output: Any = BaseModelOutputWithPooling()
        if visual is None:
            output = encode(pixels, grid_thw, **{**kwargs, "return_dict": True})
            visual = torch.cat(tuple(output.pooler_output))
        if spatial is None:
            assert pixels is not None
            spatial = self._spatial(pixels, check_grids(pixels, grid_thw), clips)
        return output, Seen(visual, spatial)

    def _spatial(self, pixels: Tensor, grids: list[Grid], clips: list[list[int]]) -> Tensor:
        """[sum of 2t * h * w, spatial_dim] tokens of the spatial encoder, item after item; clips alike run together."""
        patches = pixels.float().split([t * h * w for t, h, w in grids])
        layer, tokens = self.config.spatial_layer, list(patches)
        alike: dict[tuple[int, ...], list[list[int]]] = {}
        for clip in clips:
            alike.setdefault((sum(grids[i][0] for i in clip), *grids[clip[0]][1:]), []).append(clip)
        for group in alike.values():
            frames = torch.stack([torch.cat([unpatchify(patches[i], grids[i]) for i in clip]) for clip in group])
            layers, first = self.spatial_encoder.vggt_model.aggregate(frames, [layer])
            for clip, seen in zip(group, layers[layer][:, :, first:].flatten(1, 2)):
                for i, part in zip(clip, seen.split(spatial_counts([grids[i] for i in clip]))):
                    tokens[i] = part
        return torch.cat(tokens)

    def _fuse(self, seen: Seen, grids: list[Grid], clips: list[list[int]]) -> tuple[Tensor, ...]:
        """[t * h/2 * w/2, hidden] fused tokens of each item; a clip goes through the connector at once."""
        assert seen.visual is not None and seen.spatial is not None
        tokens, spatial = list(seen.visual.split(visual_counts(grids))), seen.spatial.split(spatial_counts(grids))
        for clip in clips:
            steps, (_, h, w) = [grids[i][0] for i in clip], grids[clip[0]]
            visual = torch.cat([tokens[i] for i in clip])
            fused = self.connector(visual, torch.cat([spatial[i] for i in clip]), (sum(steps), h, w))
            for i, part in zip(clip, fused.split([len(tokens[i]) for i in clip])):
                tokens[i] = part
        return tuple(tokens)

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
