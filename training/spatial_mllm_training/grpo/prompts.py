"""What is asked: records of a mixture as prompts of the policy, shown as ``Engine.ask`` shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spatial_mllm_ros.cli.terminal import warn
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.families.base import Processor

from ..runs.folder import RunError
from ..sft import media
from ..sft.dataset import Mixture
from ..sft.records import Record, RecordFault
from ..sft.shown import question_in
from .rewards import item_of

SHOWN = 5  # faults that are told one by one


@dataclass(frozen=True)
class Prompt:
    """A record as the policy is asked it, all of its images one clip.

    Attributes:
        ids: tokens up to the start of the assistant's turn.
        pixels: float32 [t * h * w, 1176]. grid: int64 [1, 3].
    """

    record: Record
    ids: list[int]
    pixels: Tensor
    grid: Tensor


def prompt_of(record: Record, images: Sequence[NDArray[np.uint8]], processor: Processor, reasoning: bool) -> Prompt:
    """As ``Engine.ask`` asks. Raises RecordFault or SpatialError where that cannot be, or there is no answer."""
    item_of(record)
    question = replace(question_in(record), with_reasoning=reasoning)
    pixels, grid = processor.pack_clip(images)
    ids = processor.prefix_ids(grid[0].tolist()) + processor.question_ids(question)
    return Prompt(record, ids, pixels, grid)


class Prompts:
    """Prompts by their number: the n-th draw of a mixture.

    A draw that cannot be shown or scored is replaced by the next one that can, so that groups stay whole and every
    process takes the same.

    Args:
        draws: [n, 2], see ``Mixture.draws``.
        most: draws that may be broken; one more stops.

    Attributes:
        faults: what is wrong, by source and row.
    """

    def __init__(
        self,
        mixture: Mixture,
        draws: NDArray[np.int64],
        processor: Processor,
        reasoning: bool,
        max_frames: int,
        most: int = 0,
    ):
        self.mixture, self.draws, self.processor = mixture, draws, processor
        self.reasoning, self.max_frames, self.most = reasoning, max_frames, most
        self.faults: dict[tuple[int, int], str] = {}

    def __len__(self) -> int:
        return len(self.draws)

    def __call__(self, number: int) -> Prompt:
        """Raises RunError: too many cannot be shown."""
        for spare in range(len(self)):
            source, row = (int(i) for i in self.draws[(number + spare) % len(self)])
            if (source, row) in self.faults:
                continue
            try:
                record = self.mixture.read(source, row)
                return prompt_of(record, media.clip(record, self.max_frames), self.processor, self.reasoning)
            except (RecordFault, SpatialError) as error:
                self._broken(source, row, str(error))
        raise RunError("none of the records can be shown and scored", ErrorCode.FAILED)

    def _broken(self, source: int, row: int, why: str) -> None:
        self.faults[source, row] = why
        if len(self.faults) <= SHOWN:
            warn(f"left out: {why}")
        if len(self.faults) > self.most:
            raise RunError(f"{len(self.faults)} broken records, {self.most} are allowed; the last: {why}")
