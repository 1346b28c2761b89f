"""What answering and training need of a model, whatever its family; nothing else of it is known to them.

Each family is a folder or a module here with a function ``load(path, adapter, device, dtype, progress)`` that gives a
:class:`Model`; ``families.load`` picks the one that a checkpoint belongs to. Importing this needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import ErrorCode, SpatialError
from ...geometry.window import WindowGeometry
from ..question import Question

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..images import Frames
    from .clip import EncodedClip

Images = Sequence[NDArray[np.uint8]]  # RGB [H, W, 3], in order of time
Stop = Callable[[], bool]


class Model(Protocol):
    """A loaded model that answers questions about clips, gives geometry, or both.

    What cannot be done is said by ``why_no_answers`` or raised by ``geometry``; the rest need not ask which family it
    is. One call at a time.

    Attributes:
        name: as messages name it. device, dtype: where it runs, and in which number format.
        why_no_answers: why it cannot answer questions, and what could; empty where it can.
        smallest: number, height and width of frames that it can be tried with.
        ends: tokens that end an answer.
        parts: what is compiled or learns, by name.
    """

    name: str
    device: str
    dtype: str
    why_no_answers: str
    smallest: tuple[int, int, int]

    @property
    def ends(self) -> frozenset[int]: ...

    @property
    def parts(self) -> Mapping[str, nn.Module]: ...

    def see(self, images: Images, stop: Stop, pixels: tuple[int, int] | None = None) -> EncodedClip:
        """A clip is seen: encoders, then the language model up to the end of the clip, each once.

        Args:
            images: RGB uint8 [H, W, 3], in order of time.
            stop: asked before each of the parts.
            pixels: least and most pixels of a frame, instead of the model's own.
        Raises:
            SpatialError: CANCELED; BAD_REQUEST or NO_FRAMES for images that are none.
            torch.OutOfMemoryError: the device has too little memory; nothing is kept.
        """
        ...

    def read(self, clip: EncodedClip, count: int, tokens: Sequence[int], rows: int = 1) -> Tensor:
        """Read tokens (at least one) after a clip and ``count`` tokens that its cache holds already.

        Returns:
            Log-probabilities of what follows each of the last ``rows`` of them, float32 [rows, vocabulary].
        """
        ...

    def question_ids(self, question: Question) -> list[int]:
        """What follows a clip: the question, how to answer it, and the start of the answer."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Tokens of what a person wrote; they control nothing."""
        ...

    def decode(self, tokens: list[int]) -> str:
        """Tokens as text, without what controls."""
        ...

    def geometry(self, images: Images) -> WindowGeometry:
        """Depth and cameras of a clip; the window is the first frame's camera.

        Raises:
            SpatialError: NO_GEOMETRY where it gives none, or for images that are none.
        """
        ...


class Processor(Protocol):
    """What turns pictures and words into a model's tensors and tokens, as training uses it.

    Attributes:
        tokenizer: a fast one of transformers.
        clip_pixels: least and most pixels of a frame of a clip.
        image_token_id, video_token_id: what stands for one piece of an image, or of a pair of frames.
    """

    tokenizer: Any
    image_token_id: int
    video_token_id: int

    @property
    def clip_pixels(self) -> tuple[int, int]: ...

    def pack_clip(self, frames: Frames, sizes: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Patches float32 [t * h * w, values] of one clip, and its grid int64 [1, 3]: t, h, w."""
        ...

    def prefix_ids(self, grid: Sequence[int]) -> list[int]:
        """Everything up to and including the end of a clip with that grid."""
        ...

    def question_ids(self, question: Question) -> list[int]:
        """What follows the clip, up to the start of the answer."""
        ...

    def control_ids(self, text: str) -> list[int]:
        """Tokens of a template's own text, control tokens included."""
        ...

    def render(self, messages: list[dict[str, Any]], add_generation_prompt: bool = False) -> str:
        """The chat template around messages. Raises SpatialError where it cannot be used."""
        ...


SMALLEST = (2, 56, 56)  # of ``smallest``, where nothing else is known


def never() -> bool:
    return False


def check(stop: Stop) -> None:
    """Raises SpatialError CANCELED once ``stop()`` is true."""
    if stop():
        raise SpatialError(ErrorCode.CANCELED, "the question was canceled")
