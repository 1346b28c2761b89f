"""Words and pictures to what the model reads: a Qwen2.5-VL processor that needs neither a hub nor torchvision."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin, Qwen2VLImageProcessorPil

from ....errors import ErrorCode, SpatialError
from ...images import Frames
from ...question import Question
from ...text.forms import prompt_text
from ...text.templates import render
from ...text.tokens import encode_text
from ...weights.files import ModelError, find_folder, one_line, show
from .packing import MEAN, MERGE, PAIR, PATCH, STD, TRAINED_PIXELS, pack
from .seen import count_tokens
from .tokenizer import CHAT_TEMPLATE

CLIP_RATE = 2.0  # frames per second that a clip without times is said to have

MOST_PIXELS = 4_000_000  # that a smaller picture is enlarged to
VISION_END = "<|vision_end|>"
_QUESTION = "\ue000"  # stands for the question while the chat template is rendered; no template contains it


def _rendered(template: str, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
    try:
        return render(template, messages, add_generation_prompt=add_generation_prompt)
    except ValueError as error:
        raise ModelError(f"the chat template cannot be used: {error}") from None


@lru_cache(maxsize=4)
def _question(template: str) -> str:
    """The template around a clip and a stand-in for the question; it is the same for every question."""
    content = [{"type": "video"}, {"type": "text", "text": _QUESTION}]
    return _rendered(template, [{"role": "user", "content": content}], True)


EXPECTED = "expected a Qwen2.5-VL's preprocessor_config.json and tokenizer.json (or vocab.json and merges.txt)"


class SpatialMLLMProcessor(ProcessorMixin):
    """Tokenizer, sizes of pictures and chat template of one checkpoint.

    Prompts are system, user (the clip, then the question), assistant, as released checkpoints were trained. The clip
    comes first, so that all questions about it share what the model has read up to its end. What a person wrote is
    encoded apart (``encode_text``): it can say anything and control nothing.

    Attributes:
        tokenizer: with Qwen2.5-VL's control tokens.
        image_processor: holds the range of pixels of a picture (``size``); the patches are cut by ``packing``.
        image_token_id, video_token_id: what stands for one 28 x 28 pixel piece of an image, or of a pair of frames.

    Raises:
        ModelError: the tokenizer lacks a control token, or the pictures would have to be cut in another way.
    """

    def __init__(self, image_processor=None, tokenizer=None, chat_template: str | None = None):
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = self._control(self.image_token)
        self.video_token_id = self._control(self.video_token)
        for name, ours in {"patch_size": PATCH, "temporal_patch_size": PAIR, "merge_size": MERGE}.items():
            if getattr(image_processor, name) != ours:
                raise ModelError(f"preprocessor {name} = {getattr(image_processor, name)}: expected {ours}")
        for name, ours in {"image_mean": MEAN, "image_std": STD}.items():
            if not np.allclose(getattr(image_processor, name), ours, atol=1e-6):
                raise ModelError(f"preprocessor {name} = {getattr(image_processor, name)}: expected {list(ours)}")

        low, high = self.pixels
        if type(low) is not int or type(high) is not int or not 0 < low <= high or low > MOST_PIXELS:
            found = f"preprocessor pixels from {low!r:.40} to {high!r:.40}"
            raise ModelError(f"{found}: expected two whole numbers, ascending, the first at most {MOST_PIXELS}")

    def _control(self, token: str) -> int:
        if (found := self.tokenizer.get_vocab().get(token)) is None:
            raise ModelError(f"the tokenizer has no {token}: expected that of a Qwen2.5-VL")
        return found

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "SpatialMLLMProcessor":  # type: ignore[override]
        """The processor of a local folder or hub id, as Qwen2.5-VL, Spatial-MLLM and ``save_pretrained`` write them.

        Without a preprocessor configuration, pictures get the sizes of released Spatial-MLLMs; without a chat template,
        prompts are ChatML.

        Raises:
            ModelError: no tokenizer, one that is no Qwen2.5-VL's, or a file that cannot be read.
        """
        folder = find_folder(path)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            found, _ = cls.get_processor_dict(folder)
            image_processor = _image_processor(folder)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever transformers makes of a missing or damaged file; Rust code panics
            raise ModelError(f"{show(path)}: no usable processor ({type(error).__name__}), {EXPECTED}") from error
        if not encode_text(tokenizer, "?"):  # what transformers makes of control tokens without a vocabulary
            raise ModelError(f"{show(path)}: no vocabulary, {EXPECTED}")
        template = found.get("chat_template") or tokenizer.chat_template
        if not isinstance(template, str | None):
            raise ModelError(f"{show(path)}: the chat template is {type(template).__name__}: expected a text")
        try:
            made = cls(image_processor, tokenizer, chat_template=template)
            made.render([{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "?"}]}])
            return made
        except ModelError as error:
            raise ModelError(f"{show(path)}: {error.message}") from None
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise ModelError(f"{show(path)}: preprocessor_config.json: {one_line(error)}, {EXPECTED}") from None

    @property
    def pixels(self) -> tuple[int, int]:
        """Least and most pixels of a picture, as the checkpoint's preprocessor configuration says."""
        size = self.image_processor.size
        return size["shortest_edge"], size["longest_edge"]

    @property
    def clip_pixels(self) -> tuple[int, int]:
        """Least and most pixels of a frame of a scene that is asked about.

        What released models were trained with, where the checkpoint's own range leaves room for it (Qwen2.5-VL's does),
        else that range.
        """
        low, high = self.pixels
        return TRAINED_PIXELS if low <= TRAINED_PIXELS[0] and TRAINED_PIXELS[1] <= high else (low, high)

    def pack_clip(self, frames: Frames, sizes: tuple[int, int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """``pixel_values_videos`` float32 [N,1176] and ``video_grid_thw`` int64 [1,3] of one scene; see ``pack``.

        Args:
            sizes: least and most pixels of a frame, instead of ``clip_pixels``.
        """
        values, grid = pack(frames, *(sizes or self.clip_pixels))
        return values, torch.tensor([grid])

    def prefix_ids(self, grid: Sequence[int]) -> list[int]:
        """Everything up to and including the end of a clip with grid (t, h, w): the same for all questions about it."""
        clip = [self.video_token_id] * count_tokens(grid)
        before, _, _ = self._turn()
        return self.control_ids(before) + clip + self.control_ids(VISION_END)

    def question_ids(self, question: Question) -> list[int]:
        """What follows the clip: the question, how to answer it, and the start of the assistant's turn."""
        _, between, after = self._turn()
        return encode_text(self.tokenizer, between + prompt_text(question)) + self.control_ids(after)

    def control_ids(self, text: str) -> list[int]:
        """Tokens of the template's own text, control tokens included."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]

    def render(self, messages: list[dict[str, Any]], add_generation_prompt: bool = False) -> str:
        """The checkpoint's chat template around messages, in bounded time and memory; see ``text.templates``.

        Raises:
            ModelError: it is no template, fails, or does not stay within the limits.
        """
        return _rendered(str(self.chat_template), messages, add_generation_prompt)

    def _turn(self) -> tuple[str, str, str]:
        """The checkpoint's chat template, rendered once around a clip and a stand-in for the question.

        Returns:
            Text up to the clip, between clip and question, and after the question.
        """
        text = _question(str(self.chat_template))
        before, clip, rest = text.partition(self.video_token)
        between, asked, after = rest.partition(_QUESTION)
        if not (clip and asked and between.startswith(VISION_END)):
            wanted = "<|video_pad|><|vision_end|> and the text in the user's turn"
            raise ModelError(f"the chat template does not put {wanted}")
        return before, between.removeprefix(VISION_END), after

    def __call__(  # type: ignore[override]
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        *,
        fps: float = CLIP_RATE,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        padding: bool | str = False,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        **text_kwargs: Any,
    ) -> BatchFeature:
        """What Qwen2.5-VL's processor gives, under the same names.

        Args:
            images: one RGB uint8 [H,W,3] or PIL image, or (nested) lists of them.
            text: prompts with one ``<|image_pad|>`` for each image and one ``<|video_pad|>`` for each video, in order.
            videos: one clip (uint8 [T,H,W,3] or a list of [H,W,3]) or (nested) lists of clips.
            fps: frames per second of the videos.
            min_pixels, max_pixels: range of a picture's pixels instead of the checkpoint's.
            padding, padding_side: as for a tokenizer; left unless the tokenizer says otherwise.
            return_tensors: "pt" or "np"; lists of token ids where None.
            text_kwargs: for the tokenizer.

        Returns:
            input_ids, attention_mask, mm_token_type_ids (0 text, 1 image, 2 video) [B,L]; pixel_values [N,1176] and
            image_grid_thw [n,3]; pixel_values_videos, video_grid_thw and second_per_grid_ts [n].

        Raises:
            ValueError: nothing was given, or the text's placeholders do not match the pictures.
            SpatialError: see ``pack``.
        """
        if images is None and text is None and videos is None:
            raise ValueError("nothing to process: give text, images or videos")
        clips = _clips(videos)
        if videos is not None and not clips:
            raise SpatialError(ErrorCode.NO_FRAMES, "a video without frames: a question needs at least one")
        limits = min_pixels or self.pixels[0], max_pixels or self.pixels[1]
        image_data, image_grids = _pack_all([[image] for image in _images(images)], limits)
        video_data, video_grids = _pack_all(clips, limits)
        data: dict[str, Any] = {}
        if text is not None:
            tokens = self.tokenizer([text] if isinstance(text, str) else list(text), **text_kwargs)
            data |= self._expand(tokens["input_ids"], image_grids, video_grids)
            kinds = {self.image_token_id: 1, self.video_token_id: 2}
            kept = {key: data[key] for key in ("input_ids", "attention_mask")}
            data |= self.tokenizer.pad(kept, padding=padding, padding_side=padding_side)
            data["mm_token_type_ids"] = [[kinds.get(token, 0) for token in ids] for ids in data["input_ids"]]
        if image_grids:
            data |= {"pixel_values": image_data, "image_grid_thw": torch.tensor(image_grids)}
        if video_grids:
            data |= {"pixel_values_videos": video_data, "video_grid_thw": torch.tensor(video_grids)}
            data["second_per_grid_ts"] = [PAIR / fps] * len(video_grids)
        return BatchFeature(data, tensor_type=return_tensors)

    def _expand(self, prompts: list[list[int]], images: list, videos: list) -> dict[str, list[list[int]]]:
        """Each placeholder as many times as its picture has tokens."""
        for what, token, grids in (("image", self.image_token_id, images), ("video", self.video_token_id, videos)):
            if (held := sum(ids.count(token) for ids in prompts)) != len(grids):
                raise ValueError(f"{held} {what} placeholder(s) in the text, but {len(grids)} {what}(s) were given")
        waiting = {self.image_token_id: iter(images), self.video_token_id: iter(videos)}
        ids = [
            [
                token
                for held in prompt
                for token in [held] * (count_tokens(next(waiting[held])) if held in waiting else 1)
            ]
            for prompt in prompts
        ]
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}

    @property
    def model_input_names(self) -> list[str]:
        pictures = ["pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"]
        return [*self.tokenizer.model_input_names, *pictures, "second_per_grid_ts", "mm_token_type_ids"]


def _image_processor(folder: Path) -> Qwen2VLImageProcessorPil:
    """That of the folder; without a file for it, the sizes of released Spatial-MLLMs."""
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return Qwen2VLImageProcessorPil(min_pixels=TRAINED_PIXELS[0], max_pixels=TRAINED_PIXELS[1])
    return Qwen2VLImageProcessorPil.from_pretrained(folder)


def _pack_all(clips: list[Frames], limits: tuple[int, int]) -> tuple[torch.Tensor | None, list[tuple[int, int, int]]]:
    packed = [pack(clip, *limits) for clip in clips]
    return (torch.cat([values for values, _ in packed]) if packed else None), [grid for _, grid in packed]


def _images(images: Any) -> list[np.ndarray]:
    """One picture or nested lists of them, as a flat list of arrays."""
    if images is None:
        return []
    if isinstance(images, list | tuple) or np.ndim(images) == 4:
        return [image for part in images for image in _images(part)]
    return [np.asarray(images.convert("RGB")) if hasattr(images, "convert") else images]


def _clips(videos: Any) -> list[Frames]:
    """One clip or nested lists of them, as a flat list of clips. A list of pictures is one clip."""
    if videos is None:
        return []
    if isinstance(videos, np.ndarray) and videos.ndim == 5:
        return list(videos)
    if isinstance(videos, list | tuple) and not any(_is_picture(part) for part in videos):
        return [clip for part in videos for clip in _clips(part)]
    return [_images(videos) if isinstance(videos, list | tuple) else videos]


def _is_picture(part: Any) -> bool:
    return hasattr(part, "convert") or (isinstance(part, np.ndarray) and part.ndim == 3)
