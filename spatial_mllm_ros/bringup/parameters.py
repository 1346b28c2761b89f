"""Parameter files of ROS 2, as the node reads them: which sections are its own, and what they come to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = "ros__parameters"
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


class Loader(yaml.SafeLoader):
    """YAML as rcl reads it, for which 1e-3 is a number."""


class Dumper(yaml.SafeDumper):
    """YAML for rcl, which takes no text in quotes for a number."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def read(path: Path, node: str) -> dict[str, Any]:
    """Dotted names and values of what a file sets for a node.

    Args:
        node: its full name, like ``/robot1/spatial_mllm``.

    Raises:
        ValueError: there is no such file, it is no parameter file, or nothing in it is for this node, which would run
            on defaults.
    """
    try:
        tree = yaml.load(path.read_text("utf-8"), Loader)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates that are none
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    found = list(sections(tree)) if isinstance(tree, dict) else []
    if not found:
        raise ValueError(f"{path} is no parameter file: expected '/**/NODE:' and '{HERE}:' below it")
    own = [values for name, values in found if is_for(name, node)]
    if not own:
        names = ", ".join(name for name, _ in found)
        raise ValueError(f"{path} has nothing for {node}, only for {names}; /**/{node.rpartition('/')[2]} fits always")
    out: dict[str, Any] = {}
    for values in own:  # what comes later counts
        out |= flat(values)
    return out


def sections(tree: dict[Any, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Name, which may have wildcards, and parameters of every node in a file."""
    for key, value in tree.items():
        if key == HERE:
            yield name, value if isinstance(value, dict) else {}
        elif isinstance(value, dict):
            yield from sections(value, f"{name}/{str(key).strip('/')}")


def is_for(section: str, node: str) -> bool:
    """Whether rclpy takes a section for this node: ``/*`` is one part of its name, ``/**`` any number of them."""
    pattern = re.escape(section).replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"/\w+")
    return bool(re.fullmatch(pattern, node))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of nested ones."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


def text(values: dict[str, Any], node: str) -> str:
    """A parameter file with these values for one node."""
    return yaml.dump({node: {HERE: values}}, Dumper=Dumper, sort_keys=False)
