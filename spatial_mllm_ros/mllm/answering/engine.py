"""Engine: a loaded model that sees a clip once and answers any number of questions about it."""

import gc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from time import perf_counter

import numpy as np
import torch

from ...errors import ErrorCode, SpatialError
from ...evenly import evenly
from ...geometry.window import WindowGeometry
from ...versions import outside
from ..calibration import UNCALIBRATED, Calibration, calibration_of
from ..device import choose
from ..encoders.exported import read_exported
from ..encoders.files import FileEncoders
from ..families import load
from ..families.base import Images, Model, Stop, check, never
from ..families.clip import EncodedClip
from ..images import check_frames
from ..question import Answer, Question
from ..weights.digest import encoders_digest
from ..weights.files import find_folder, one_line, taken
from .answer import Answerer, OnText
from .clip_cache import ClipCache
from .decode import Turn

Progress = Callable[[str, float], None]
OUT_OF_MEMORY = torch.OutOfMemoryError, MemoryError  # the second of exported encoders


class Engine:
    """A model for questions and geometry, or for geometry alone. One call works at a time; others wait.

    Clips stay encoded: the prompt up to the end of the clip is read once, and every question continues from there,
    exactly as if all had been read anew.

    Args:
        model: what sees and reads; :func:`load_engine` loads one.
        calibration: what its confidences are worth, and what it was trained to do.
        folders: where its weights came from: of the model, and of the adapter.
        max_tokens: longest answer, reasoning included.
        cache_megabytes: most memory for encoded clips (1e6 bytes each); the latest is always kept.
        not_observed: NOT_OBSERVED where the probability of "not visible" is above; below 0: as the model was
            calibrated, or 0.5 where it was not; 1: only where the model says so itself.
    Raises:
        SpatialError: FAILED, the model does not run with the installed libraries; says what would mend it.
    """

    def __init__(
        self,
        model: Model,
        *,
        calibration: Calibration | None = None,
        folders: Sequence[Path] = (),
        max_tokens: int = 256,
        cache_megabytes: int = 2048,
        not_observed: float = -1.0,
    ):
        self.model, self.calibration, self.folders = model, calibration or Calibration(), folders
        self.name, self.device, self.dtype = model.name, model.device, model.dtype
        self.taken, self.encoders = taken(folders), ""
        self.max_tokens, self.not_observed = max_tokens, not_observed
        self._clips = ClipCache(cache_megabytes * 1_000_000)
        self._lock = Lock()
        self._check()

    @torch.inference_mode()
    def _check(self) -> None:
        """A step of every part, on a few patches: what does not run with these libraries fails now, with what mends it.

        Raises:
            SpatialError: FAILED.
        """
        count, *size = self.model.smallest
        images, pixels = [np.zeros((*size, 3), np.uint8)] * count, size[0] * size[1]
        try:
            if self.model.why_no_answers:
                self.model.geometry(images)
            else:
                clip = self.model.see(images, never, (pixels, pixels))
                Turn(self.model, clip).read([min(self.model.ends)])
        except OUT_OF_MEMORY:
            raise self._out_of_memory("when it was loaded") from None
        except SpatialError:
            raise
        except Exception as error:
            known = outside() or ["spatial-mllm doctor shows the versions of what it needs"]
            text = f"the model does not run here ({one_line(error)}): {'; '.join(known)}"
            raise SpatialError(ErrorCode.FAILED, text) from error

    def has(self, key: Hashable) -> bool:
        """Whether that clip is encoded, so that a question finds it at once."""
        return key in self._clips

    def encode(self, key: Hashable, images: Images, stop: Stop = never) -> float:
        """See a clip: both encoders and the language model read it once.

        Of more frames than the model was trained with, only so many are shown, evenly spread, and answers say so.
        Where a GPU's memory does not allow that, once more without the other clips, then with half of the frames.

        Args:
            key: a name for the clip; one that is known is not encoded again.
            images: RGB uint8 [H, W, 3], in order of time.
            stop: asked now and then; true ends the work.
        Returns:
            Seconds that took; 0 where the clip was known.
        Raises:
            SpatialError: BAD_REQUEST or NO_FRAMES for images that are none, CANCELED, MODEL_NOT_READY where the model
                cannot answer, FAILED where memory does not suffice.
        """
        with self._lock:
            self._require_answers()
            check(stop)
            if self._clips.use(key) is not None:
                return 0.0
            start = perf_counter()
            self._clips.put(key, self._encode_within_memory(check_frames(images), stop))
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
        """Answer a question about a clip that was encoded.

        Args:
            key: the clip.
            on_text: is told the text so far whenever it has grown.
            stop: asked before every token; true ends the work.
            not_observed: threshold for this question; None: the engine's; below 0: the model's own. At 0 all is
                refused, and the confidence is the probability that the threshold is compared with (once ``calibration``
                scales nothing): what a calibration needs.
        Raises:
            SpatialError: CANCELED; MODEL_NOT_READY where the model cannot answer; FAILED where the clip is not known
                (any more) or memory does not suffice.
        """
        with self._lock:
            self._require_answers()
            if (clip := self._clips.use(key)) is None:
                raise SpatialError(ErrorCode.FAILED, "the clip is not encoded (any more): encode it first")
            threshold = self.not_observed if not_observed is None else not_observed
            if threshold < 0:
                own = self.calibration.not_observed
                threshold = UNCALIBRATED if own is None else own
            answerer = Answerer(self.model, self.max_tokens, self.calibration)
            try:
                return answerer.answer(clip, question, threshold, on_text or (lambda text: None), stop)
            except OUT_OF_MEMORY:
                pass  # what it held is freed below, once the exception is gone
            finally:
                self._clips.trim()
            del clip
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
        """Depth and cameras of a clip; see ``families.base.Model.geometry``."""
        with self._lock:
            try:
                return self.model.geometry(images)
            except OUT_OF_MEMORY:
                pass
            self.forget()
            raise self._out_of_memory(f"with {len(images)} frames")

    def drop(self, key: Hashable) -> None:
        """Forget one clip, if it is known."""
        with self._lock:
            self._clips.pop(key, None)

    def forget(self) -> None:
        """Drop all clips, and give back the memory that torch keeps for later."""
        self._clips.clear()
        if (files := getattr(self.model, "files", None)) is not None:
            files.forget()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def clip_bytes(self) -> int:
        """Memory that encoded clips hold, bytes."""
        return self._clips.nbytes

    def _require_answers(self) -> None:
        if why := self.model.why_no_answers:
            raise SpatialError(ErrorCode.MODEL_NOT_READY, why)

    def _encode_within_memory(self, images: Images, stop: Stop) -> EncodedClip:
        """The clip of all images that the model may see, or of every other one of them where that is all that fits;
        other clips go first."""
        frames = evenly(len(images), self.calibration.frames(len(images)))
        remark = self.calibration.remark(len(frames), len(images))
        alone = [frames] if self._clips or self.encoders else []  # engines and torch share a GPU's memory
        for shown in (frames, *alone, [frames[i] for i in evenly(len(frames), len(frames) // 2)]):
            if not shown:
                break
            try:
                clip = self.model.see([images[i] for i in shown], stop)
            except OUT_OF_MEMORY:  # what it held is freed below, once the exception is gone
                pass
            else:
                less = "" if len(shown) == len(frames) else f"memory sufficed for {len(shown)} of {len(frames)} frames"
                return replace(clip, frames=tuple(shown), note="; ".join(filter(None, (remark, less))))
            self.forget()
        raise self._out_of_memory(f"with {len(frames)} frames and with half of them")

    def _out_of_memory(self, when: str) -> SpatialError:
        return SpatialError(
            ErrorCode.FAILED,
            f"out of memory on {self.device} {when}: give it fewer frames, or load a smaller model or a shorter dtype",
        )


def load_engine(
    path: str | Path,
    *,
    adapter: str | Path = "",
    device: str = "auto",
    dtype: str = "auto",
    compile: bool = False,
    progress: Progress | None = None,
    max_tokens: int = 256,
    cache_megabytes: int = 2048,
    not_observed: float = -1.0,
    encoders: str | Path = "",
    provider: str = "auto",
) -> Engine:
    """An engine with the model of a checkpoint.

    Args:
        path: folder, or hub id ``owner/name`` or ``owner/name@revision``, of a model that one of ``families`` loads.
        adapter: that of a PEFT adapter; empty: none.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU where there is one.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on a GPU, float32 elsewhere.
        compile: compile the model's parts; the first questions take longer, later ones less.
        progress: is told a stage and the part that is done, 0..1, while loading.
        max_tokens, cache_megabytes, not_observed: see :class:`Engine`.
        encoders: folder of exported encoders of that model, which run in the place of its own; empty: none.
        provider: what runs them, see ``encoders.files.FileEncoders``.
    Raises:
        SpatialError: the model cannot be loaded; says why and what would be right.
    """
    report = progress or (lambda stage, fraction: None)
    report("loading", 0.0)
    named = [] if Path(path).is_file() else [(path, "model"), *([(adapter, "adapter")] if adapter else [])]
    folders = [find_folder(name, what) for name, what in named]
    calibration = calibration_of(folders)  # first: reading it costs nothing
    if folders:  # the very files whose calibration was read, whatever the hub has by now
        path, adapter = folders[0], folders[1] if adapter else ""
    files = files_of(path, encoders, provider, device, report) if encoders else None
    model = load(path, adapter, *choose(device, dtype), percents(lambda fraction: report("loading", fraction)), files)
    if compile:
        for part in model.parts.values():  # shapes may vary: other frames or questions do not compile again
            part.compile(dynamic=True)
    engine = Engine(
        model,
        calibration=calibration,
        folders=folders,
        max_tokens=max_tokens,
        cache_megabytes=cache_megabytes,
        not_observed=not_observed,
    )
    if files is not None:
        engine.taken = "; ".join(filter(None, (engine.taken, f"encoders by {files.said}")))
        engine.encoders = f"{files.exported.digest} {files.way}"
    report("ready", 1.0)
    return engine


def files_of(model: str | Path, folder: str | Path, provider: str, device: str, report: Progress) -> FileEncoders:
    """Exported encoders. Raises SpatialError: BAD_REQUEST where they cannot be used, or are of another model."""
    exported = read_exported(folder)
    exported.check_model(encoders_digest(Path(model)))
    return FileEncoders(exported, provider, device, tell=report)


def percents(tell: Callable[[float], None]) -> Callable[[float], None]:
    """``tell`` for every whole percent, not for every tensor."""
    last = 0

    def on_part(fraction: float) -> None:
        nonlocal last
        if int(100 * fraction) > last:
            last = int(100 * fraction)
            tell(last / 100)

    return on_part


def content_key(images: Images) -> str:
    """The same for the same pixels in the same order, and for nothing else."""
    digest = blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
