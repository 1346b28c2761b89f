"""The model that ships with the package, ``models/nano``, which model is meant, and whether one can run here."""

import sys
from importlib import metadata
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
    return NANO if find_shipped() and can_run() else ""


def can_run() -> bool:
    """Whether Python and the packages that a model needs are here, in versions that it runs with. Imports none."""
    return sys.version_info >= (3, 11) and all(supported(name, version_of(name)) for name in NEEDED)


def version_of(distribution: str) -> str:
    """Of what is installed; empty where it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def supported(distribution: str, version: str) -> str:
    """The version, or an empty string for one that the model does not run with."""
    first_two = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return version if distribution != "transformers" or (5, 23) <= first_two < (6,) else ""
