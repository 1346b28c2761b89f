"""Which versions of other packages this one was tested with: those that its own metadata, from setup.py, asks for."""

from collections.abc import Iterable
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "spatial_mllm_ros"
MODEL = ("torch", "transformers", "tokenizers", "safetensors", "peft", "huggingface_hub")


def version_of(distribution: str) -> str:
    """Of what is installed; empty where it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


@cache
def requirements() -> dict[str, list[Requirement]]:
    """What the package and its extras need on this interpreter, by canonical name; any of several will do.

    Empty where the package runs from a folder without being installed: then nothing is known about versions.
    """
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[Requirement]] = {}
    for needed in map(Requirement, lines):
        extras = ("", *(metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()))
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            found.setdefault(canonicalize_name(needed.name), []).append(needed)
    return found


def install(distribution: str) -> str:
    """The pip command for a version that was tested, or for any where nothing is known about it."""
    known = requirements().get(canonicalize_name(distribution), [])
    wanted = f"{distribution}{known[0].specifier}" if known else distribution
    return f"pip install '{wanted}'" if wanted != distribution else f"pip install {wanted}"


def outside(distributions: Iterable[str] = MODEL) -> list[str]:
    """A sentence for each that is installed in a version outside of what was tested, with what mends it."""
    said = []
    for name in distributions:
        known, version = requirements().get(canonicalize_name(name), []), version_of(name)
        if known and version and not any(needed.specifier.contains(version, prereleases=True) for needed in known):
            said.append(f"{name} {version} is outside of what was tested ({known[0].specifier}): {install(name)}")
    return said
