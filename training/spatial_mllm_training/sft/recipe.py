"""The recipe of a fine-tuning run."""

from dataclasses import dataclass
from pathlib import Path

from spatial_mllm_ros.config import param

from ..runs.parts import ModelRecipe
from ..runs.recipe import RecipeError, entries
from .dataset import DataEntry


@dataclass(frozen=True)
class SftRecipe(ModelRecipe):
    """Supervised fine-tuning on records with answers."""

    data: tuple[DataEntry, ...] = entries(DataEntry, "data sets that are learned from")
    evaluate: tuple[DataEntry, ...] = entries(DataEntry, "data sets whose loss is measured, by question type")
    shown_as: str = param(
        "clip",
        "clip: all images of a record are one clip, as the node asks; written: where the record's text puts them",
        choices=("clip", "written"),
    )
    answers: str = param(
        "short", "short: from gt_value, where there is one; written: the record's own", choices=("short", "written")
    )
    max_frames: int = param(16, "frames of a clip or video, evenly spread", low=1, high=256)
    max_tokens: int = param(0, "a sample with more is broken; 0: no bound", unit="tokens", low=0, high=1_000_000)
    features: str = param("", "folder where outputs of frozen encoders are kept; empty: they run every time")
    features_dtype: str = param(
        "float32", "the longest number that is kept; float32 is exact", choices=("float32", "bfloat16", "float16")
    )
    features_megabytes: int = param(20_000, "most that the folder holds", unit="MB", low=1, high=100_000_000)

    def __post_init__(self):
        super().__post_init__()
        if self.features and "spatial_encoder" in self.train:
            raise RecipeError("features: nothing can be kept while the spatial_encoder learns: expected features: ''")
        for name, found in (("data", self.data), ("evaluate", self.evaluate)):
            for i, entry in enumerate(found):
                if not entry.path or not Path(entry.path).expanduser().exists():
                    raise RecipeError(f"{name}[{i}].path = {entry.path!r}: expected a folder or file that is there")

    @property
    def kept(self) -> str:
        """What of the encoders can be kept: ``both``, or ``spatial`` while the 2D encoder learns."""
        return "spatial" if "visual" in self.train else "both"
