"""Engine: a loaded model that sees a clip once and answers any number of questions about it."""

import gc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import ErrorCode, SpatialError
from ...geometry.window import WindowGeometry
from ...versions import outside
from ..calibration import UNCALIBRATED, Calibration, read_calibration
from ..device import choose
from ..encoders.vggt import VGGT
from ..encoders.vggt.loading import load_vggt
from ..encoders.vggt.view import see
from ..families.spatial_mllm.loading import load_model
from ..families.spatial_mllm.packing import PAIR
from ..images import check_frames
from ..question import Answer, Question
from ..weights.files import find_folder, one_line, read_entries, show
from .answer import Answerer, OnText
from .decode import Stop, Turn, check, never
from .encoding import encode
from .scene import Scene
from .scene_cache import SceneCache

Images = Sequence[NDArray[np.uint8]]  # RGB [H, W, 3]
Progress = Callable[[str, float], None]
SMALL = (56, 56)  # height and width of the picture that a model is checked with, pixels


class Engine:
    """A Spatial-MLLM, or a VGGT for geometry alone. One call works at a time; others wait.

    Scenes stay encoded: the prompt up to the end of the clip is read once, and every question continues from there,
    exactly as if all had been read anew.

    Args:
        path: folder or hub id of a Spatial-MLLM or of a VGGT.
        adapter: folder or hub id of a PEFT adapter; empty: none.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU where there is one.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on a GPU, float32 elsewhere.
        max_tokens: longest answer, reasoning included.
        cache_megabytes: most memory for encoded scenes (1e6 bytes each); the latest is always kept.
        not_observed: NOT_OBSERVED where the probability of "not visible" is above; below 0: as the model was
            calibrated, or 0.5 where it was not; 1: only where the model says so itself.
        compile: compile the encoders and the language model; the first questions take longer, later ones less.
        progress: is told a stage and the part that is done, 0..1, while loading.
    Attributes:
        calibration: what its confidences are worth; that of the adapter where there is one with a calibration.
        folders: where the weights came from: of the model, and of the adapter; none for a VGGT.
    Raises:
        SpatialError: the model cannot be loaded; says why and what would be right.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        adapter: str | Path = "",
        device: str = "auto",
        dtype: str = "auto",
        max_tokens: int = 256,
        cache_megabytes: int = 2048,
        not_observed: float = -1.0,
        compile: bool = False,
        progress: Progress | None = None,
    ):
        report = progress or (lambda stage, fraction: None)
        report("loading", 0.0)
        self.max_tokens, self.not_observed = max_tokens, not_observed
        self.device, self.dtype = choose(device, dtype)
        self.name = show(path)
        loaded = percents(lambda fraction: report("loading", fraction))
        self.calibration = Calibration()
        self.folders: list[Path] = []
        self.model, self.processor, self.vggt = self._load(path, adapter, loaded)
        if compile:
            self._compile()
        self._scenes: SceneCache[Scene] = SceneCache(cache_megabytes * 1_000_000)
        self._lock = Lock()
        self._check()
        report("ready", 1.0)

    def _load(self, path: str | Path, adapter: str | Path, loaded: Callable[[float], None]) -> tuple[Any, Any, VGGT]:
        """Model, processor and spatial encoder; of a plain VGGT the last alone, without a tokenizer no processor."""
        if is_vggt(path):
            if adapter:
                raise SpatialError(ErrorCode.BAD_REQUEST, f"an adapter needs a Spatial-MLLM, {self.name} is a VGGT")
            return None, None, load_vggt(path, self.device, self.dtype, loaded)
        self.folders = [find_folder(path)]
        self.calibration = read_calibration(self.folders[0]) or Calibration()
        if adapter:
            self.folders.append(own := find_folder(adapter, "adapter"))
            self.calibration = read_calibration(own) or self.calibration.under_an_adapter()
        model, processor = load_model(path, self.device, self.dtype, adapter, loaded)
        return model, processor, model.model.spatial_encoder.vggt_model

    @torch.inference_mode()
    def _check(self) -> None:
        """A step of every part, on a few patches: what does not run with these libraries fails now, with what mends it.

        Raises:
            SpatialError: FAILED.
        """
        try:
            if self.processor is None:
                self.vggt(torch.zeros(1, 2, 3, *SMALL, device=self.device))
            else:
                images, size = [np.zeros((*SMALL, 3), np.uint8)] * PAIR, SMALL[0] * SMALL[1]
                scene = encode(self.model, self.processor, images, never, (size, size))
                with scene.lent() as cache:
                    Turn(self.model, scene, cache).read([self.processor.tokenizer.eos_token_id])
        except torch.OutOfMemoryError:
            raise self._out_of_memory("when it was loaded") from None
        except SpatialError:
            raise
        except Exception as error:
            known = outside() or ["spatial-mllm doctor shows the versions of what it needs"]
            text = f"the model does not run here ({one_line(error)}): {'; '.join(known)}"
            raise SpatialError(ErrorCode.FAILED, text) from error

    def has(self, key: Hashable) -> bool:
        """Whether that scene is encoded, so that a question finds it at once."""
        return key in self._scenes

    def encode(self, key: Hashable, images: Images, stop: Stop = never) -> float:
        """See a clip: both encoders and the language model read it once.

        Where a GPU's memory does not allow that, once more without the other scenes, then with half of the frames,
        evenly spread.

        Args:
            key: a name for the scene; one that is known is not encoded again.
            images: RGB uint8 [H, W, 3], in order of time.
            stop: asked now and then; true ends the work.
        Returns:
            Seconds that took; 0 where the scene was known.
        Raises:
            SpatialError: BAD_REQUEST or NO_FRAMES for images that are none, CANCELED, MODEL_NOT_READY where the model
                cannot answer, FAILED where memory does not suffice.
        """
        with self._lock:
            self._require_answers()
            check(stop)
            if self._scenes.get(key) is not None:
                return 0.0
            start = perf_counter()
            self._scenes.put(key, self._encode_within_memory(check_frames(images), stop))
            return perf_counter() - start

    def answer(
        self,
        key: Hashable,
        question: Question,
        *,
        on_text: OnText | None = None,
        stop: Stop = never,
        not_observed: float | None = None,
    ) -> Answer:
        """Answer a question about a scene that was encoded.

        Args:
            key: the scene.
            on_text: is told the text so far whenever it has grown.
            stop: asked before every token; true ends the work.
            not_observed: threshold for this question; None: the engine's; below 0: the model's own. At 0 all is
                refused, and the confidence is the probability that the threshold is compared with (once ``calibration``
                scales nothing): what a calibration needs.
        Raises:
            SpatialError: CANCELED; MODEL_NOT_READY where the model cannot answer; FAILED where the scene is not known
                (any more) or memory does not suffice.
        """
        with self._lock:
            self._require_answers()
            if (scene := self._scenes.get(key)) is None:
                raise SpatialError(ErrorCode.FAILED, "the scene is not encoded (any more): encode it first")
            threshold = self.not_observed if not_observed is None else not_observed
            if threshold < 0:
                own = self.calibration.not_observed
                threshold = UNCALIBRATED if own is None else own
            answerer = Answerer(self.model, self.processor, self.max_tokens, self.calibration)
            try:
                return answerer.answer(scene, question, threshold, on_text or (lambda text: None), stop)
            except torch.OutOfMemoryError:
                pass  # what it held is freed below, once the exception is gone
            finally:
                self._scenes.trim()
            del scene
            self.forget()
            raise self._out_of_memory("while answering")

    def ask(
        self,
        images: Images,
        question: Question,
        *,
        on_text: OnText | None = None,
        stop: Stop = never,
        not_observed: float | None = None,
    ) -> Answer:
        """``encode`` and ``answer``; the same images again are known by their content."""
        key = content_key(check_frames(images))
        seconds = self.encode(key, images, stop)
        said = self.answer(key, question, on_text=on_text, stop=stop, not_observed=not_observed)
        return replace(said, seconds_encode=seconds)

    def geometry(self, images: Images) -> WindowGeometry:
        """Depth and cameras of a clip, from the spatial encoder; see :func:`spatial_view.see`."""
        with self._lock:
            try:
                return see(self.vggt, images)
            except torch.OutOfMemoryError:
                pass
            self.forget()
            raise self._out_of_memory(f"with {len(images)} frames")

    def drop(self, key: Hashable) -> None:
        """Forget one scene, if it is known."""
        with self._lock:
            self._scenes.drop(key)

    def forget(self) -> None:
        """Drop all scenes, and give back the memory that torch keeps for later."""
        self._scenes.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def scene_bytes(self) -> int:
        """Memory that encoded scenes hold, bytes."""
        return self._scenes.nbytes

    def _require_answers(self) -> None:
        if self.model is None:
            raise SpatialError(
                ErrorCode.MODEL_NOT_READY,
                f"{self.name} is a VGGT, which gives geometry but no answers: expected a Spatial-MLLM",
            )
        if self.processor is None:
            raise SpatialError(ErrorCode.MODEL_NOT_READY, f"{self.name} has no tokenizer: expected tokenizer.json")

    def _encode_within_memory(self, images: Images, stop: Stop) -> Scene:
        """The scene of all images, or of every other one where that is all that fits; other scenes go first."""
        frames = range(len(images))
        alone = [frames] if self._scenes else []
        for shown in (frames, *alone, evenly(frames, len(frames) // 2)):
            if not shown:
                break
            try:
                scene = encode(self.model, self.processor, [images[i] for i in shown], stop)
            except torch.OutOfMemoryError:  # what it held is freed below, once the exception is gone
                pass
            else:
                note = "" if len(shown) == len(frames) else f"memory sufficed for {len(shown)} of {len(frames)} frames"
                return replace(scene, frames=tuple(shown), note=note)
            self.forget()
        raise self._out_of_memory(f"with {len(frames)} frames and with half of them")

    def _out_of_memory(self, when: str) -> SpatialError:
        return SpatialError(
            ErrorCode.FAILED,
            f"out of memory on {self.device} {when}: give it fewer frames, or load a smaller model or a shorter dtype",
        )

    def _compile(self) -> None:
        """Compile what takes the time; shapes may vary, so that other frames or questions do not compile again."""
        self.vggt.aggregator.compile(dynamic=True)
        if self.model is not None:
            self.model.model.visual.compile(dynamic=True)
            self.model.model.language_model.compile(dynamic=True)


def percents(tell: Callable[[float], None]) -> Callable[[float], None]:
    """``tell`` for every whole percent, not for every tensor."""
    last = 0

    def on_part(fraction: float) -> None:
        nonlocal last
        if int(100 * fraction) > last:
            last = int(100 * fraction)
            tell(last / 100)

    return on_part


def is_vggt(path: str | Path) -> bool:
    """Whether a model is a plain VGGT, by the names of its tensors."""
    if Path(path).is_file():
        return True
    return any(name.startswith("aggregator.") for name in read_entries(find_folder(path)))


def evenly(frames: Sequence[int], count: int) -> list[int]:
    """``count`` of the frames, the first and the last among them where there are two or more."""
    return [frames[round(i)] for i in np.linspace(0, len(frames) - 1, count)]


def content_key(images: Images) -> str:
    """The same for the same pixels in the same order, and for nothing else."""
    digest = blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
