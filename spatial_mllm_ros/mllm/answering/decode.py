"""One question on an encoded scene: tokens in, the likeliest next token out, until an answer stands."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ...errors import ErrorCode, SpatialError
from ..families.kv_cache import CACHE, rewind
from .scene import Scene

Stop = Callable[[], bool]


def never() -> bool:
    return False


def check(stop: Stop) -> None:
    """Raises SpatialError CANCELED once ``stop()`` is true."""
    if stop():
        raise SpatialError(ErrorCode.CANCELED, "the question was canceled")


class Turn:
    """The tokens that follow a scene while one question is answered.

    Positions are given to the model explicitly, so nothing depends on what it did before.

    Attributes:
        ids: the tokens after the clip that the cache holds.
    """

    def __init__(self, model: Any, scene: Scene, cache: DynamicCache, stop: Stop = never):
        self._model, self._scene, self._cache, self._stop = model, scene, cache, stop
        self.ids: list[int] = []

    def read(self, tokens: Sequence[int], rows: int = 1) -> Tensor:
        """Read tokens (at least one).

        Returns:
            Log-probabilities of what follows each of the last ``rows`` of them, float32 [rows, vocabulary].
        Raises:
            SpatialError: CANCELED, before anything is read.
        """
        check(self._stop)
        start = self._scene.length + len(self.ids)
        first = start + self._scene.rope_delta
        device = self._model.device
        out = self._model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.arange(first, first + len(tokens), device=device).expand(3, 1, -1),
            use_cache=True,
            logits_to_keep=rows,
            **{CACHE: self._cache},
        )
        self.ids += tokens
        return out.logits[0].float().log_softmax(-1)

    def back_to(self, count: int) -> None:
        """Forget all but the first ``count`` tokens after the clip."""
        del self.ids[count:]
        rewind(self._cache, self._scene.length + count)

    def after(self, ids: Sequence[int], rows: int = 1) -> Tensor:
        """What follows ``ids`` after the clip, as ``read`` says; what was read before is used or forgotten."""
        most = min(len(self.ids), len(ids) - rows)
        same = next((i for i in range(most) if self.ids[i] != ids[i]), most)
        self.back_to(same)
        return self.read(ids[same:], rows)

    def log_likelihood(self, before: Sequence[int], tokens: Sequence[int]) -> float:
        """Mean log-probability of ``tokens``, had they followed ``before`` (at least one token) after the clip."""
        rows = self.after([*before, *tokens[:-1]], rows=len(tokens))
        return float(rows.gather(1, torch.tensor(tokens, device=rows.device)[:, None]).mean())

    def generate(self, row: Tensor, ends: Collection[int], most: int) -> Iterator[tuple[int, float]]:
        """Likeliest tokens after ``row`` [vocabulary], each with its log-probability, up to one of ``ends``.

        A token is read when the next is asked for, so the last of ``most`` tokens costs nothing.
        """
        for left in range(most - 1, -1, -1):
            token = int(row.argmax())
            if token in ends:
                return
            yield token, float(row[token])
            if left:
                row = self.read([token])[0]


class TextStream:
    """Tokens as text that grows, never showing half a character.

    Attributes:
        text: what has been decoded so far.
        starts: length of ``text`` before each token.
    """

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self._pending: list[int] = []
        self.text = ""
        self.starts: list[int] = []

    def add(self, token: int) -> bool:
        """Take one more token; True where the text has grown. Broken characters wait for the bytes they lack."""
        self.starts.append(len(self.text))
        self._pending.append(token)
        piece = self._decode(self._pending)
        if not piece or piece.endswith("\ufffd"):
            return False
        self.text += piece
        self._pending.clear()
        return True

    def end(self) -> str:
        """All of the text; bytes that never became a character show as replacement characters."""
        self.text += self._decode(self._pending) if self._pending else ""
        self._pending.clear()
        return self.text

    def tokens_of(self, start: int, end: int) -> range:
        """Indices of the tokens that wrote characters ``start`` to ``end`` (excluded) of the finished text."""
        if start >= end:
            return range(0)
        holder = self.starts[bisect_right(self.starts, start) - 1]  # several tokens may share one character
        return range(bisect_left(self.starts, holder), bisect_left(self.starts, end))
