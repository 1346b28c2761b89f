"""Files that are whole or not there: written beside their place and renamed; hashes that tell one from another."""

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a text file. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def content_hash(paths: Iterable[Path]) -> str:
    """One digest of the names and bytes of some files, in the order of their names. Raises OSError."""
    digest = blake2b(digest_size=16)
    for path in sorted(paths):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    return digest.hexdigest()
