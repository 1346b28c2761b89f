"""The model that ships with the package, ``models/nano``, which model is meant, and whether one can run here."""

from pathlib import Path

from ...versions import version_of

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


def chosen(model: str, encoders: str = "") -> str:
    """The model that a name means: ``none`` and, where nano cannot run, the empty name mean no model (empty).

    The empty name is nano where that is installed, with what a model needs to run; its exported ``encoders`` need less.
    """
    if model == NONE:
        return ""
    if model:
        return model
    return NANO if find_shipped() and (encoders or can_run()) else ""


def can_run() -> bool:
    """Whether the packages that a model needs are here. Imports none; ``versions.outside`` tells of odd versions."""
    return all(version_of(name) for name in NEEDED)
