"""The model that ships with the package, ``models/nano``, and which model is meant. Needs no torch."""

from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]  # the folder of spatial_mllm_ros
NANO, NONE = "nano", "none"
NEEDED = ("torch", "transformers", "safetensors", "peft")


def find_shipped(package: Path = PACKAGE) -> Path | None:
    """The folder of nano: beside the package in a source tree, below ``share`` where pip or colcon installed it.

    Args:
        package: folder of the Python package.
    """
    places = [package.parent / "models" / NANO]
    places += [parent / "share" / package.name / "models" / NANO for parent in package.parents]
    return next((place for place in places if (place / "model.safetensors").is_file()), None)


def chosen(model: str) -> str:
    """The model that a name means: ``none`` and, where nano cannot run, the empty name mean no model (empty).

    The empty name is nano where that is installed, with what a model needs to run.
    """
    if model == NONE:
        return ""
    if model:
        return model
    return NANO if find_shipped() and all(map(find_spec, NEEDED)) else ""
