"""Which files of a folder belong to its recording: what lies there decides, metadata.yaml tells order and losses."""

import re
from pathlib import Path
from typing import Any

from .limits import FILES, NAME, YAML, TooMuch
from .qos import plain_yaml
from .source import opened

SUFFIXES = (".mcap", ".db3", ".bag", ".active")
PACKED = (".zstd", ".zst")  # behind one of those: the whole file is compressed
METADATA = "metadata.yaml"


def is_part(file: Path) -> bool:
    """Whether a file is named as one with messages."""
    return Path(unpacked(file)).suffix in SUFFIXES


def unpacked(file: Path) -> str:
    """The name of a file without the compression of all of it."""
    return file.stem if file.suffix in PACKED else file.name


def natural_order(path: Path) -> list:
    """Sort key that puts ``bag_10`` after ``bag_9``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def files_of(folder: Path) -> tuple[list[Path], set[Path], list[str]]:
    """Files with messages in order, those among them that ``metadata.yaml`` does not name, and what is wrong.

    Without that file, or where it is broken, all are taken as named.
    """
    there = {file.name: file for file in sorted(filter(is_part, folder.iterdir()), key=natural_order)}
    FILES.check(len(there))
    there = {name: file for name, file in there.items() if unpacked(file) == name or unpacked(file) not in there}
    if not (folder / METADATA).exists():
        return list(there.values()), set(), _left_out_numbers(folder, list(there.values()))
    try:
        named = _named(_metadata(folder / METADATA))
    except PermissionError:
        raise
    except Exception as error:  # the library has many words for text that is no YAML
        why = f" ({error})" if isinstance(error, TooMuch) else ""
        text = f"{METADATA} is broken{why}: every file beside it was read, but whether one is missing is not known"
        return list(there.values()), set(), [text] if there else []
    known = {unpacked(file): file for file in there.values()}
    found = {name: known[plain] for name in named if (plain := unpacked(Path(name))) in known}
    others = [file for file in there.values() if file not in found.values()]
    gone = [name for name in named if name not in found]
    problems = []
    if gone and len(gone) == len(others) and len(named) == len(gone):  # renamed, most likely
        pairs = ", ".join(f"{file.name} for {name}" for name, file in zip(gone, others, strict=True))
        return others, set(), [f"{METADATA} names files that are not there; others were read: {pairs}"]
    if gone:
        problems.append(f"{', '.join(gone)}, which {METADATA} names, {_is(gone)} missing; the rest was read")
    return [*found.values(), *others], set(others), problems


def _metadata(file: Path) -> Any:
    with opened(file) as text:
        YAML.check(file.stat().st_size)
        return plain_yaml(text.read().decode())


def _named(metadata: Any) -> list[str]:
    """Names of the files in a metadata.yaml; it raises whatever it will where that is something else."""
    paths = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
    FILES.check(len(paths))
    return [re.split(r"[\\/]", NAME.checked(path))[-1] for path in paths]


def _is(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _left_out_numbers(folder: Path, files: list[Path]) -> list[str]:
    """Files of a split recording that are not there, told by the numbers in the names of the others."""
    matches = [match for file in files if (match := re.fullmatch(r"(.*)_(\d+)(\..*)", file.name))]
    if len(matches) != len(files) or len({(match[1], match[3]) for match in matches}) != 1:
        return []
    numbers = {int(match[2]) for match in matches}
    first = 0 if matches[0][1] == folder.name else min(numbers)
    if max(numbers) - first > FILES.most:  # numbers of something else
        return []
    if len(gone := sorted({*range(first, max(numbers))} - numbers)) in range(1, 100):
        names = [f"{matches[0][1]}_{number}{matches[0][3]}" for number in gone]
        return [f"{', '.join(names)} {_is(names)} missing, by the names of the other files; the rest was read"]
    return []
