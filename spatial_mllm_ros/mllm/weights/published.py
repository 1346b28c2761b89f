"""Checkpoints that others have published and that load here: what ``doctor`` and ``models/README.md`` say about them.

Parameters are counted from the tensor shapes of the released files; the track head, which is never built, is left out.
"""

from dataclasses import dataclass

BYTES = {"float32": 4, "bfloat16": 2}  # of one number
FRAMES = 16
FRAME_BYTES = 100_000_000  # of numbers: VGGT's README measures 0.2 GB a frame in bfloat16, with every layer kept
ANSWER_BYTES = 500_000_000  # of numbers: the language model's cache and activations for 16 frames


@dataclass(frozen=True)
class Checkpoint:
    """One published checkpoint.

    Attributes:
        source: its id on the Hugging Face hub.
        what: what it gives.
        parameters: those that are loaded.
        answers: it holds a language model.
        licence: of the weights.
        commercial: whether that licence allows commercial use.
    """

    source: str
    what: str
    parameters: int
    answers: bool
    licence: str
    commercial: bool

    @property
    def name(self) -> str:
        return self.source.partition("/")[2]

    def weights(self, dtype: str) -> float:
        """Size of the weights, GB (1e9 bytes)."""
        return self.parameters * BYTES[dtype] / 1e9

    def needed(self, dtype: str) -> float:
        """Upper estimate of the memory for 16 frames, GB: weights and working memory. Computed, not measured."""
        working = FRAMES * FRAME_BYTES + ANSWER_BYTES * self.answers
        return self.weights(dtype) + working * BYTES[dtype] / 1e9


SPATIAL_MLLM = 5_247_243_800  # language model 3,085,938,688, its eyes 668,684,288, connector 302,024,704, VGGT
VGGT = 1_190_596_120
MIXED = "MIT for what its authors added; its parts: Qwen Research License, CC BY-NC 4.0"

PUBLISHED = (
    Checkpoint("Diankun/Spatial-MLLM-v1.1-Instruct-135K", "questions and geometry", SPATIAL_MLLM, True, MIXED, False),
    Checkpoint("Diankun/Spatial-MLLM-v1.1-Instruct-820K", "questions and geometry", SPATIAL_MLLM, True, MIXED, False),
    Checkpoint("facebook/VGGT-1B", "geometry", VGGT, False, "CC BY-NC 4.0", False),
    Checkpoint("facebook/VGGT-1B-Commercial", "geometry", VGGT, False, "VGGT License: no military use", True),
)
