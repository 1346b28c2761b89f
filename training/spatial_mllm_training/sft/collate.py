"""Records to the tensors of one batch. What cannot be shown is left out, and said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.families.base import Processor
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import MERGE, PAIR, PATCH_VALUES, pack
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import CLIP_RATE
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen

from . import media
from .dataset import Mixture
from .features import FeatureStore, Stored
from .recipe import SftRecipe
from .records import Record, RecordFault
from .shown import IGNORED, Tokens, as_clip, as_written

Batch = dict[str, Any]


@dataclass
class Picture:
    """An image or a video: pixels float32 [t * h * w, 1176], or what encoders saw in it, and its grid (t, h, w)."""

    kind: str
    grid: tuple[int, int, int]
    pixels: Tensor | None
    seconds: float = PAIR / CLIP_RATE
    seen: Seen | None = None


@dataclass
class Sample:
    """A record as numbers."""

    tokens: Tokens
    pictures: list[Picture] = field(default_factory=list)
    question_type: str = ""


class Collator:
    """Draws (source and row of a mixture) to a batch; what ``DataLoader`` calls, also in other processes.

    Args:
        recipe: how records are shown, unless they bring their own.
        store: what the frozen encoders saw; pixels are read only where that lacks something of a batch.
        blank: whether a batch without pictures gets a clip that teaches nothing. Processes that train together wait
            for each other wherever weights are used: all of them have to use the same.
    """

    def __init__(
        self,
        mixture: Mixture,
        processor: Processor,
        recipe: SftRecipe,
        store: FeatureStore | None = None,
        blank: bool = False,
    ):
        self.mixture, self.processor, self.recipe = mixture, processor, recipe
        self.store, self.blank = store, blank

    def __call__(self, draws: Sequence[dict[str, int]]) -> Batch:
        """What the model's ``forward`` takes, with ``labels``; besides ``faults``, what was left out and why, and
        ``question_types`` of the rest. A batch of which nothing is left has two tokens and no labels."""
        faults: list[str] = []
        records: list[Record] = []
        for draw in draws:
            try:
                records.append(self.mixture.read(draw["source"], draw["row"]))
            except RecordFault as error:
                faults.append(str(error))
        stored = self._stored(records)
        samples: list[Sample] = []
        for record, found in zip(records, stored):
            try:
                samples.append(self.sample(record, found))
            except (RecordFault, SpatialError) as error:
                name = record["id"]
                faults.append(str(error) if str(error).startswith(name) else f"{name}: {error}")
        types = [sample.question_type for sample in samples]
        if self.blank and not any(sample.pictures for sample in samples):
            samples.append(self._blank())
        return {**self._tensors(samples), "faults": faults, "question_types": types}

    def sample(self, record: Record, stored: Stored | None = None) -> Sample:
        """One record as numbers. Raises RecordFault or SpatialError where that cannot be."""
        how = record.get("answers", self.recipe.answers)
        if self.is_clip(record):
            pictures = [self._clip(record, stored)]
            tokens = as_clip(record, how, self.processor, pictures[0].grid)
        else:
            pictures = self._written(record)
            grids = {kind: [p.grid for p in pictures if p.kind == kind] for kind in ("image", "video")}
            tokens = as_written(record, how, self.processor, grids)  # type: ignore[arg-type]
        if self.recipe.max_tokens and len(tokens.ids) > self.recipe.max_tokens:
            most = self.recipe.max_tokens
            raise RecordFault(f"{record['id']}: {len(tokens.ids)} tokens: expected at most max_tokens, {most}")
        return Sample(tokens, pictures, record["question_type"])

    def is_clip(self, record: Record) -> bool:
        """Whether a record is shown as one clip; without pictures there is none."""
        shown = bool(record["images"] or record["videos"])
        return shown and record.get("shown_as", self.recipe.shown_as) == "clip"

    def _stored(self, records: Sequence[Record]) -> list[Stored | None]:
        """What the store has of all clips of a batch, or nothing: a batch has pixels, or has none."""
        nothing: list[Stored | None] = [None] * len(records)
        if self.store is None or not all(self.is_clip(record) for record in records):
            return nothing
        try:
            keys = [self.store.key(media.content(record, self.recipe.max_frames)) for record in records]
        except RecordFault:
            return nothing  # it is said where the sample is made
        found = [self.store.get(key) for key in keys]
        return nothing if None in found else found

    def _clip(self, record: Record, stored: Stored | None) -> Picture:
        if stored is not None and stored.seen.complete:
            return Picture("video", stored.grid, None, seen=stored.seen)
        pixels, grid = self.processor.pack_clip(media.clip(record, self.recipe.max_frames))
        return Picture("video", tuple(grid[0].tolist()), pixels, seen=stored.seen if stored else None)

    def _written(self, record: Record) -> list[Picture]:
        limits, pictures = self.processor.clip_pixels, []
        for image in record["images"]:
            pixels, grid = pack([media.read_image(image)], *limits)
            pictures.append(Picture("image", grid, pixels))
        for video in record["videos"]:
            frames, step = media.read_video(video, self.recipe.max_frames)
            pixels, grid = pack(frames, *limits)
            pictures.append(Picture("video", grid, pixels, PAIR * step))
        return pictures

    def _blank(self) -> Sample:
        """The smallest clip, black, of which nothing is learned."""
        grid = (1, MERGE, MERGE)
        ids = self.processor.prefix_ids(grid)
        pixels = torch.zeros(MERGE * MERGE, PATCH_VALUES)
        return Sample(Tokens(ids, [IGNORED] * len(ids)), [Picture("video", grid, pixels)])

    def _tensors(self, samples: Sequence[Sample]) -> Batch:
        tokenizer = self.processor.tokenizer
        rows = [sample.tokens for sample in samples] or [Tokens([tokenizer.eos_token_id] * 2, [IGNORED] * 2)]
        length, left = max(len(row.ids) for row in rows), tokenizer.padding_side == "left"
        batch: Batch = {
            "input_ids": _padded([row.ids for row in rows], length, tokenizer.pad_token_id, left),
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], length, 0, left),
            "labels": _padded([row.labels for row in rows], length, IGNORED, left),
        }
        for kind, pixels, grid in (
            ("image", "pixel_values", "image_grid_thw"),
            ("video", "pixel_values_videos", "video_grid_thw"),
        ):
            found = [picture for sample in samples for picture in sample.pictures if picture.kind == kind]
            if not found:
                continue
            batch[grid] = torch.tensor([picture.grid for picture in found])
            if given := [picture.pixels for picture in found if picture.pixels is not None]:
                batch[pixels] = torch.cat(given)
            if kind == "video":
                batch["second_per_grid_ts"] = torch.tensor([picture.seconds for picture in found])
                if seen := _joined(found):
                    batch["seen"] = {"video": seen}
        return batch


def _padded(rows: Sequence[list[int]], length: int, value: int, left: bool) -> Tensor:
    """int64 [B, length]."""
    pads = [[value] * (length - len(row)) for row in rows]
    return torch.tensor([pad + row if left else row + pad for row, pad in zip(rows, pads)])


def _joined(pictures: Sequence[Picture]) -> Seen | None:
    """What was seen in all of them, one after the other; the store gives that for all or none."""
    seen = [picture.seen for picture in pictures]
    if not all(seen):
        return None
    parts = [[getattr(part, name) for part in seen] for name in ("visual", "spatial")]
    return Seen(*(None if None in part else torch.cat(part) for part in parts))
