"""A loaded Spatial-MLLM as answering knows it: a clip is seen, then tokens are read after it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ....geometry.window import WindowGeometry
from ...encoders.export.graph import Graph, Parts
from ...encoders.files import FileEncoders
from ...encoders.vggt.graphs import about
from ...encoders.vggt.graphs import graphs as vggt_graphs
from ...encoders.vggt.loading import load_vggt
from ...encoders.vggt.view import window
from ...encoders.view import fit
from ...question import Question
from ...text.tokens import encode_text
from ...weights.files import find_folder, show
from ..base import SMALLEST, Images, Stop, check
from ..clip import CACHE, EncodedClip
from .from_files import WITHOUT, from_files
from .graphs import connector_graph, visual_graph
from .loading import load_model, load_part, load_processor, read_sizes
from .model import SpatialMLLMForConditionalGeneration
from .packing import PAIR, PATCH, TRAINED_PIXELS, fit_size
from .processor import CLIP_RATE, SpatialMLLMProcessor
from .tower import window_of


class SpatialMLLM:
    """See ``families.base.Model``.

    Attributes:
        network, processor: what transformers' Qwen2.5-VL has, too.
        files: exported encoders, which take the place of the network's; None: its own are there.
    """

    def __init__(
        self,
        name: str,
        network: SpatialMLLMForConditionalGeneration,
        processor: SpatialMLLMProcessor | None,
        files: FileEncoders | None = None,
    ):
        self.name, self.network, self.files = name, network, files
        self.smallest = SMALLEST if files is None else files.smallest
        if files is not None:
            network.model.encoders = from_files(files, network.device)
        self.device, self.dtype = str(network.device), str(network.dtype).removeprefix("torch.")
        self.why_no_answers = "" if processor else f"{name} has no tokenizer: expected tokenizer.json"
        if processor is not None:
            self.processor = processor

    @property
    def parts(self) -> dict[str, nn.Module]:
        return self.network.parts

    @property
    def ends(self) -> frozenset[int]:
        ends = self.network.generation_config.eos_token_id  # type: ignore[union-attr]
        return frozenset({self.processor.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])})

    def question_ids(self, question: Question) -> list[int]:
        return self.processor.question_ids(question)

    def encode_text(self, text: str) -> list[int]:
        return encode_text(self.processor.tokenizer, text)

    def decode(self, tokens: list[int]) -> str:
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True)  # type: ignore[return-value]

    @torch.inference_mode()
    def see(self, images: Images, stop: Stop, pixels: tuple[int, int] | None = None) -> EncodedClip:
        """As the Protocol says; ``stop`` is asked before packing, the encoders and the language model."""
        check(stop)
        network, model = self.network, self.network.model
        patches, grid = (tensor.to(network.device) for tensor in self.processor.pack_clip(images, pixels))
        ids = torch.tensor([self.processor.prefix_ids(grid[0].tolist())], device=network.device)
        check(stop)
        embeds = model.embed(ids, model.encode(ids, pixel_values_videos=patches, video_grid_thw=grid))
        positions, deltas = model.get_rope_index(ids, video_grid_thw=grid, second_per_grid_ts=[PAIR / CLIP_RATE])
        del patches
        check(stop)
        cache = DynamicCache()
        read = {"inputs_embeds": embeds, "position_ids": positions, CACHE: cache, "use_cache": True}
        network(**read, logits_to_keep=1)
        return EncodedClip(cache, ids.shape[1], int(deltas), tuple(range(len(images))))

    def read(self, clip: EncodedClip, count: int, tokens: Sequence[int], rows: int = 1) -> Tensor:
        """As the Protocol says; positions are given to the network, so nothing depends on what it did before."""
        first, device = clip.length + count + clip.rope_delta, self.network.device
        out = self.network(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.arange(first, first + len(tokens), device=device).expand(3, 1, -1),
            use_cache=True,
            logits_to_keep=rows,
            **{CACHE: clip.cache},
        )
        return out.logits[0].float().log_softmax(-1)

    def geometry(self, images: Images) -> WindowGeometry:
        network = self.network
        if self.files is not None:
            return self.files.window(images)
        return window(network.model.encoders.geometry, network.config.vggt, images, network.device)


def parts_to_export(path: str | Path) -> Parts:
    """See ``families.exporting``."""
    folder = find_folder(path)
    config = read_sizes(folder)
    processor = load_processor(folder, config)
    pixels = processor.clip_pixels if processor else TRAINED_PIXELS
    layer, patch = config.spatial_layer % config.vggt.depth, config.vggt.patch_size

    def graphs() -> Iterator[Graph]:
        yield visual_graph(load_part(folder, "visual"))  # type: ignore[arg-type]
        yield from vggt_graphs(load_vggt(folder), [layer])
        yield connector_graph(load_part(folder, "connector"), layer)  # type: ignore[arg-type]

    def sizes(pictures: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        answering = [fit_size(*picture, *pixels) for picture in pictures]
        return answering + [fit(picture, config.vggt.img_size, patch) for picture in pictures]

    seen = {"window": window_of(config.vision), "connector": f"layer_{layer}"}
    return Parts(folder, graphs, sizes, PATCH, True, {**about(config.vggt), **seen})


def load(
    path: str | Path,
    adapter: str | Path,
    device: str,
    dtype: str,
    progress: Callable[[float], None],
    files: FileEncoders | None = None,
) -> SpatialMLLM:
    """Raises SpatialError as ``load_model``."""
    loaded = load_model(path, device, dtype, adapter, progress, WITHOUT if files else ())
    return SpatialMLLM(show(path), *loaded, files)
