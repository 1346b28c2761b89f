"""Spatial-MLLM (Wu et al. 2025, section 3.1): Qwen2.5-VL whose image tokens also carry what a VGGT sees in them.

frames -> 2D encoder (Qwen2.5-VL) -> tokens --+
   \\-> spatial encoder (VGGT) -> connector ---+--> language model
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, Qwen2_5_VLPreTrainedModel, Qwen2_5_VLTextModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast

from ...encoders.base import Encoders, Geometry
from ...encoders.vggt import VGGT, VGGTConfig
from ...encoders.vggt.view import see_with
from ..clip import CACHE
from .config import SpatialMLLMConfig
from .connector import Connector
from .packing import unpatchify
from .parts import PARTS
from .positions import rope_index
from .seen import Grid, Seen, check_grids, count_tokens, spatial_counts
from .tower import Tower


class SpatialEncoder(nn.Module):
    """The VGGT under the name that released checkpoints give it."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        self.vggt_model = VGGT(config)


class SpatialMLLMModel(Qwen2_5_VLPreTrainedModel):
    """The model without its output layer: the encoders, the connector and the language model.

    transformers' parts are used by what they promise: the 2D encoder by pixels and grids, the language model by
    embeddings, positions, mask and cache. What joins them is here, and transformers calls nothing of it by names of its
    own choice but ``forward``.
    """

    config: SpatialMLLMConfig

    def __init__(self, config: SpatialMLLMConfig):
        super().__init__(config)
        self.visual = Tower(config.vision)
        self.language_model = Qwen2_5_VLTextModel(config.text)
        self.spatial_encoder = SpatialEncoder(config.vggt)
        self.connector = Connector(2 * config.vggt.embed_dim, config.text.hidden_size)
        self.encoders = Encoders(self._see_visual, self._see_spatial, self._see_geometry, self._connect)
        self.post_init()

    def get_video_features(
        self,
        pixel_values_videos: Tensor | None,
        video_grid_thw: Tensor | None,
        seen: Seen | None = None,
    ) -> BaseModelOutputWithPooling:
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
        return self._fuse(self._see(pixel_values_videos, video_grid_thw, clips, seen), grids, clips)

    def get_image_features(
        self,
        pixel_values: Tensor | None,
        image_grid_thw: Tensor | None,
        image_counts: Sequence[int] | None = None,
        seen: Seen | None = None,
    ) -> BaseModelOutputWithPooling:
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
        together = list(clips.values())
        return self._fuse(self._see(pixel_values, image_grid_thw, together, seen), grids, together)

    def see(self, pixel_values_videos: Tensor, video_grid_thw: Tensor) -> Seen:
        """What both encoders see in videos, each video a clip: what ``forward`` takes as ``seen={"video": ...}``."""
        clips = [[i] for i in range(len(check_grids(pixel_values_videos, video_grid_thw)))]
        return self._see(pixel_values_videos, video_grid_thw, clips, None)

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
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        second_per_grid_ts: Tensor | Sequence[float] | None = None,
        mm_token_type_ids: Tensor | None = None,
        mm_encoder_outputs: Mapping[str, BaseModelOutputWithPooling] | None = None,
        seen: Mapping[str, Seen] | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As ``Qwen2_5_VLModel``; pixels and encoder outputs may come together where they are of different kinds.

        Args:
            position_ids: [3, B, L], see ``positions.rope_index``; left out, they are computed here: of whole prompts,
                or of what follows the tokens in a cache that this model has filled.
            past_key_values, cache: transformers' older and newer name for the same.
            mm_token_type_ids: not needed, the tokens tell.
            seen: see ``encode``; takes the place of encoders, not of the connector: gradients reach that.
            kwargs: for the language model.
        Returns:
            What the language model returns, with ``last_hidden_state`` [B, L, hidden].
        Raises:
            ValueError: pictures, tokens, grids and positions do not fit.
        """
        cache = past_key_values if cache is None else cache
        grids = {"image_grid_thw": image_grid_thw, "video_grid_thw": video_grid_thw}
        encoded = self.encode(input_ids, pixel_values, pixel_values_videos, **grids, seen=seen)
        given = {kind: output for kind, output in (mm_encoder_outputs or {}).items() if output is not None}
        if both := [kind for kind in encoded if kind in given]:
            raise ValueError(f"{both[0]}s are given as pixels and as encoder outputs: expected one of them")
        deltas = None
        if position_ids is None and input_ids is not None:
            position_ids, deltas = self.get_rope_index(
                input_ids, image_grid_thw, video_grid_thw, second_per_grid_ts, attention_mask, cache
            )
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, {**given, **encoded})
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **{CACHE: cache},
            **kwargs,
        )
        if deltas is not None:
            note_deltas(output, deltas)
        return output

    def embed(self, input_ids: Tensor | None, encoded: Mapping[str, BaseModelOutputWithPooling]) -> Tensor:
        """Embeddings [B, L, hidden] of tokens, those of images and videos as encoded (see ``encode``).

        Raises:
            ValueError: no tokens, or another number of them than of what was encoded.
        """
        if input_ids is None:
            raise ValueError("no tokens: expected input_ids, or inputs_embeds without pictures")
        embeds = self.get_input_embeddings()(input_ids)
        for kind, token in (("image", self.config.image_token_id), ("video", self.config.video_token_id)):
            if kind in encoded:
                fused = torch.cat(tuple(encoded[kind].pooler_output)).to(embeds)  # pyright: ignore[reportArgumentType]
                here = input_ids == token
                if (count := int(here.sum())) != len(fused):
                    raise ValueError(f"the prompts have {count} {kind} tokens: {len(fused)} were encoded")
                embeds = embeds.masked_scatter(here.unsqueeze(-1), fused)
        return embeds

    def get_rope_index(
        self,
        input_ids: Tensor,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        second_per_grid_ts: Tensor | Sequence[float] | None = None,
        attention_mask: Any = None,
        cache: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Positions [3, B, L] of tokens, and what is added to an index behind them, [B, 1]; see ``rope_index``.

        Args:
            input_ids: [B, L]: whole prompts, or what follows the tokens in ``cache``, in which no picture is.
            attention_mask: [B, all tokens]; of other shapes it says nothing here.
        Raises:
            ValueError: tokens and grids do not fit; a cache that this model has not filled.
        """
        mask = attention_mask if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 else None
        past = 0 if cache is None else cache.get_seq_length()
        if not past:
            images, videos = ([] if grid is None else grid.tolist() for grid in (image_grid_thw, video_grid_thw))
            seconds = None if second_per_grid_ts is None else [float(s) for s in second_per_grid_ts]
            return rope_index(self.config, input_ids, images, videos, seconds, mask)
        if (deltas := getattr(cache, DELTAS, None)) is None:
            raise ValueError("the cache was filled with given positions: expected position_ids here, too")
        batch, length = input_ids.shape
        if mask is not None:
            index = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        else:
            index = torch.arange(past, past + length, device=input_ids.device).expand(batch, -1)
        return (index + deltas.to(index.device)).expand(3, -1, -1), deltas

    def _see(self, pixels: Tensor | None, grid_thw: Tensor | None, clips: list[list[int]], seen: Seen | None) -> Seen:
        """What both encoders see; each clip lists items of one grid that are seen together."""
        visual, spatial = (None, None) if seen is None else (seen.visual, seen.spatial)
        if visual is None:
            assert pixels is not None and grid_thw is not None
            visual = self.encoders.visual(pixels, grid_thw)
        if spatial is None:
            assert pixels is not None
            spatial = self._spatial(pixels, check_grids(pixels, grid_thw), clips)
        return Seen(visual, spatial)

    def _spatial(self, pixels: Tensor, grids: list[Grid], clips: list[list[int]]) -> Tensor:
        """[sum of 2t * h * w, spatial_dim] tokens of the spatial encoder, item after item; clips alike run together."""
        patches = pixels.float().split([t * h * w for t, h, w in grids])
        tokens = list(patches)
        alike: dict[tuple[int, ...], list[list[int]]] = {}
        for clip in clips:
            alike.setdefault((sum(grids[i][0] for i in clip), *grids[clip[0]][1:]), []).append(clip)
        for group in alike.values():
            frames = torch.stack([torch.cat([unpatchify(patches[i], grids[i]) for i in clip]) for clip in group])
            for clip, seen in zip(group, self.encoders.spatial(frames).flatten(1, 2)):
                for i, part in zip(clip, seen.split(spatial_counts([grids[i] for i in clip]))):
                    tokens[i] = part
        return torch.cat(tokens)

    def _see_visual(self, pixels: Tensor, grid_thw: Tensor) -> Tensor:
        return self.visual(pixels.to(self.visual.dtype), grid_thw=grid_thw).pooler_output

    def _see_spatial(self, frames: Tensor) -> Tensor:
        layer = self.config.spatial_layer
        layers, first = self.spatial_encoder.vggt_model.aggregate(frames, [layer])
        return layers[layer][:, :, first:]

    def _see_geometry(self, frames: Tensor) -> Geometry:
        return see_with(self.spatial_encoder.vggt_model, frames)

    def _connect(self, visual: Tensor, spatial: Tensor, grid: Grid) -> Tensor:
        return self.connector(visual, spatial, grid)

    def _fuse(self, seen: Seen, grids: list[Grid], clips: list[list[int]]) -> BaseModelOutputWithPooling:
        """[t * h/2 * w/2, hidden] fused tokens of each item; a clip goes through the connector at once."""
        assert seen.visual is not None and seen.spatial is not None
        tokens = list(seen.visual.split([count_tokens(grid) for grid in grids]))
        spatial = seen.spatial.split(spatial_counts(grids))
        for clip in clips:
            steps, (_, h, w) = [grids[i][0] for i in clip], grids[clip[0]]
            visual = torch.cat([tokens[i] for i in clip])
            fused = self.encoders.connect(visual, torch.cat([spatial[i] for i in clip]), (sum(steps), h, w))
            for i, part in zip(clip, fused.split([len(tokens[i]) for i in clip])):
                tokens[i] = part
        return BaseModelOutputWithPooling(pooler_output=tuple(tokens))  # pyright: ignore[reportArgumentType]

    def _image_counts(self, input_ids: Tensor, grids: list[Grid]) -> list[int]:
        """Images of each prompt, from the image tokens in it."""
        sizes = iter([count_tokens(grid) for grid in grids])
        counts = []
        for tokens in (input_ids == self.config.image_token_id).sum(-1).tolist():
            counts.append(0)
            while tokens > 0:
                tokens -= next(sizes, tokens)
                counts[-1] += 1
        return counts


class SpatialMLLMForConditionalGeneration(Qwen2_5_VLPreTrainedModel, GenerationMixin):
    """Spatial-MLLM with the arguments of transformers' Qwen2.5-VL; ``mm_token_type_ids`` may be left out."""

    config_class = SpatialMLLMConfig
    config: SpatialMLLMConfig
    accepts_loss_kwargs = False  # the loss is a mean over the tokens of one batch
    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: SpatialMLLMConfig):
        super().__init__(config)
        self.model = SpatialMLLMModel(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.text.vocab_size, bias=False)
        self.post_init()

    @property
    def vggt(self) -> VGGT:
        """The spatial encoder, with its heads."""
        return self.model.spatial_encoder.vggt_model

    @property
    def parts(self) -> dict[str, nn.Module]:
        """See ``PARTS``."""
        return {name: self.get_submodule(path) for name, path in PARTS.items()}

    def see(self, pixel_values_videos: Tensor, video_grid_thw: Tensor) -> Seen:
        """See ``SpatialMLLMModel.see``."""
        return self.model.see(pixel_values_videos, video_grid_thw)

    def encode(self, *args: Any, **kwargs: Any) -> dict[str, BaseModelOutputWithPooling]:
        """See ``SpatialMLLMModel.encode``."""
        return self.model.encode(*args, **kwargs)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Not this way: transformers would leave weights of the released layout random and only warn."""
        raise NotImplementedError("a Spatial-MLLM is loaded with spatial_mllm_ros.mllm.load_model")

    def get_video_features(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See ``SpatialMLLMModel.get_video_features``."""
        return self.model.get_video_features(*args, **kwargs)

    def get_image_features(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See ``SpatialMLLMModel.get_image_features``."""
        return self.model.get_image_features(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: Mapping[str, BaseModelOutputWithPooling] | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As ``Qwen2_5_VLForConditionalGeneration``; see ``SpatialMLLMModel.forward`` for what is not named here.

        Args:
            labels: [B, L] tokens that each place's successor should be, -100 where that does not matter.
            logits_to_keep: of the last so many places, or of these; 0: of all.
        """
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            cache=cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            count = {name: kwargs[name] for name in ("num_items_in_batch", "shift_labels") if name in kwargs}
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.text.vocab_size, **count)
        rest = {field.name: output[field.name] for field in fields(CausalLMOutputWithPast) if field.name in output}
        return CausalLMOutputWithPast(loss=loss, logits=logits, **rest)

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As transformers' ``generate``; images and videos are encoded once, before the first token.

        What is generated from are embeddings and positions: both are transformers' own arguments.
        """
        pictures = ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        pixels, videos, images_thw, videos_thw, seconds = (kwargs.pop(name, None) for name in pictures)
        seen, given, _ = (kwargs.pop(name, None) for name in ("seen", "mm_encoder_outputs", "mm_token_type_ids"))
        ids = kwargs.pop("input_ids", inputs)
        if ids is None:
            return super().generate(inputs, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        mask = kwargs.setdefault("attention_mask", torch.ones_like(ids))
        cache = kwargs.pop("past_key_values", kwargs.pop("cache", None))
        with torch.no_grad():
            encoded = self.model.encode(ids, pixels, videos, images_thw, videos_thw, seen)
            if encoded or given:
                kwargs["inputs_embeds"] = self.model.embed(ids, {**(given or {}), **encoded})
        deltas = None
        if kwargs.get("position_ids") is None:
            positions, deltas = self.model.get_rope_index(ids, images_thw, videos_thw, seconds, mask, cache)
            kwargs["position_ids"] = positions
        if cache is not None:
            kwargs[CACHE] = cache
        output = super().generate(ids, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if deltas is not None:
            note_deltas(output, deltas)
        return output


DELTAS = "rope_deltas"


def note_deltas(output: Any, deltas: Tensor) -> None:
    """Keeps with the cache in ``output``, where there is one, what is added to an index to get a position, [B, 1].

    There and not in the model: it is of those prompts, and goes and is copied with them.
    """
    cache = output.get(CACHE) if isinstance(output, Mapping) else None
    if cache is not None:
        setattr(cache, DELTAS, deltas)
