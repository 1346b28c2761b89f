"""One question on an encoded clip: tokens in, the likeliest next token out, until an answer stands."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from ..families.base import Model, Stop, check, never
from ..families.clip import EncodedClip


class Turn:
    """The tokens that follow a clip while one question is answered.

    Attributes:
        ids: the tokens after the clip that its cache holds.
    """

    def __init__(self, model: Model, clip: EncodedClip, stop: Stop = never):
        self._model, self._clip, self._stop = model, clip, stop
        self.ids: list[int] = []

    def read(self, tokens: Sequence[int], rows: int = 1) -> Tensor:
        """Read tokens (at least one).

        Returns:
            Log-probabilities of what follows each of the last ``rows`` of them, float32 [rows, vocabulary].
        Raises:
            SpatialError: CANCELED, before anything is read.
        """
        check(self._stop)
        found = self._model.read(self._clip, len(self.ids), tokens, rows)
        self.ids += tokens
        return found

    def back_to(self, count: int) -> None:
        """Forget all but the first ``count`` tokens after the clip."""
        del self.ids[count:]
        self._clip.rewind(count)

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
