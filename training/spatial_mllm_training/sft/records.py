"""Records of any kind of data set, read one at a time from where they lie.

- of ``multispa generate``: a folder with ``train.jsonl``, else ``annotations/train/*.jsonl`` or ``*.parquet``;
- annotations of Spatial-MLLM, Qwen2.5-VL, LLaVA: JSON lines or an array; ``conversations``, ``image(s)``, ``video(s)``;
- of Hugging Face, on disk: a folder of ``save_to_disk``, a Parquet file, or a folder of them: ``data/train-*.parquet``,
  ``train-*.parquet``, ``train.parquet``, ``train/*.parquet``, or any where no name begins with that of a split.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..runs.recipe import RecipeError

Record = dict[str, Any]
Lines = list[tuple[int, int]]

ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt", "system": "system"}
GENERAL = "general"  # question type of a record that names none
SPLIT = re.compile("(train|validation|valid|val|dev|test)(?![a-z])")
_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


class RecordFault(ValueError):
    """A record that cannot be learned from: which one and why."""


class Records(Protocol):
    """A data set whose records are read one at a time, from its files."""

    files: Sequence[Path]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """As ``normal`` gives it. Raises RecordFault."""
        ...


def open_records(path: str | Path, split: str = "train") -> Records:
    """A data set by its folder or file; see above.

    Raises:
        RecipeError: it is none of these, or holds no records.
    """
    place = Path(path).expanduser()
    files = _files(place, split)
    if not files:
        raise RecipeError(
            f"data '{path}': expected a folder of multispa generate with split {split}, of save_to_disk or of Parquet"
            " files, or a .jsonl, .json or .parquet file"
        )
    root = place if place.is_dir() else place.parent
    kind = files[0].suffix
    found = JsonRecords(files, root) if kind in (".jsonl", ".json") else TableRecords(place, split, files, root)
    if not len(found):
        raise RecipeError(f"data '{path}' holds no records")
    return found


def _files(place: Path, split: str) -> list[Path]:
    """The files of a data set, all of one kind."""
    if place.is_file():
        return [place] if place.suffix in (".jsonl", ".json", ".parquet") else []
    if not place.is_dir():
        return []
    if (joined := place / f"{split}.jsonl").is_file():
        return [joined]
    folder = place / split if (place / "dataset_dict.json").is_file() else place
    if (folder / "state.json").is_file():
        return sorted(folder.glob("*.arrow"))
    tables = (f"data/{split}-*", f"{split}-*", split, f"{split}/*", f"annotations/{split}/*")
    patterns = (f"annotations/{split}/*.jsonl", *(f"{table}.parquet" for table in tables))
    if found := next((sorted(files) for pattern in patterns if (files := [*place.glob(pattern)])), []):
        return found
    bare = sorted(place.glob("*.parquet"))
    return [] if any(SPLIT.match(file.name) for file in bare) else bare


class JsonRecords:
    """Records of JSON lines or JSON arrays, found by their offsets."""

    def __init__(self, files: Sequence[Path], root: Path):
        self.files, self._root = files, root
        places = [(i, *place) for i, file in enumerate(files) for place in _places(file)]
        self._places = np.array(places, np.int64).reshape(-1, 3)  # file, offset, length

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Record:
        number, offset, length = self._places[index].tolist()
        file = self.files[number]
        try:
            with file.open("rb") as content:
                content.seek(offset)
                values = json.loads(content.read(length))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordFault(f"{file.name}, byte {offset}: no JSON ({error})") from None
        return normal(values, self._root, f"{file.stem}-{index}")


class TableRecords:
    """Records of a Hugging Face data set, mapped from disk; images may be inside."""

    def __init__(self, place: Path, split: str, files: Sequence[Path], root: Path):
        import datasets

        self.files, self._root = files, root
        try:
            if files[0].suffix == ".arrow":
                table = datasets.load_from_disk(str(place))
                table = table[split] if isinstance(table, datasets.DatasetDict) else table
            else:
                table = datasets.Dataset.from_parquet([str(file) for file in files])
        except Exception as error:  # of pyarrow and datasets, many kinds
            raise RecipeError(f"data '{place}' cannot be read: {' '.join(str(error).split())[:300]}") from None
        self._table: Any = table.with_format("arrow")  # type: ignore[union-attr]  # as stored: images are not decoded

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Record:
        name = f"{self.files[0].stem}-{index}"
        try:
            values = self._table[index].to_pylist()[0]
        except (ValueError, OSError) as error:  # pyarrow's among them; a text that is none
            raise RecordFault(f"{name}: no readable record ({' '.join(str(error).split())[:200]})") from None
        if isinstance(values.get("meta"), str):  # as ``multispa generate`` writes them
            try:
                values |= {column: json.loads(values[column]) for column in ("meta", "gt_value") if values.get(column)}
            except (TypeError, ValueError, RecursionError):
                raise RecordFault(f"{name}: expected meta and gt_value as JSON, or no text in a column meta") from None
        return normal(values, self._root, name)


def content_hash(paths: Iterable[Path]) -> str:
    """One digest of the names and bytes of some files, in the order of their names. Raises OSError."""
    digest = blake2b(digest_size=16)
    for path in sorted(paths):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    return digest.hexdigest()


def normal(values: Any, root: Path, name: str) -> Record:
    """A record with the fields that training reads, whatever its data set calls them.

    Args:
        root: what paths are relative to. name: id of a record that has none.
    Returns:
        ``id``, ``question_type``, ``images`` (a Path or bytes each), ``videos`` (Paths), ``conversations`` ({from:
        human, gpt or system; value}), ``gt_value`` (None where there is none) and ``meta``.
    Raises:
        RecordFault: it is no record.
    """
    if not isinstance(values, Mapping):
        raise RecordFault(f"{name}: expected a JSON object")
    name = str(name if values.get("id") is None else values["id"])
    turns = values.get("conversations") or values.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise RecordFault(f"{name}: expected conversations, a list of turns")
    conversations = []
    for turn in turns:
        role, text = ROLES.get(str(turn.get("from") or turn.get("role"))), turn.get("value", turn.get("content"))
        if role is None or not isinstance(text, str):
            raise RecordFault(f"{name}: expected turns with from (human or gpt) and value, a text")
        conversations.append({"from": role, "value": text})
    meta = values.get("meta")
    return {
        "id": name,
        "question_type": str(values.get("question_type") or GENERAL),
        "images": [_media(item, root, name) for item in _listed(values, "images", "image")],
        "videos": [_media(item, root, name) for item in _listed(values, "videos", "video")],
        "conversations": conversations,
        "gt_value": values.get("gt_value"),
        "meta": meta if isinstance(meta, dict) else {},
    }


def _listed(values: Mapping[str, Any], *names: str) -> list[Any]:
    found = next((values[name] for name in names if values.get(name)), [])
    return list(found) if isinstance(found, list | tuple) else [found]


def _media(item: Any, root: Path, name: str) -> Path | bytes:
    if isinstance(item, Mapping):
        item = item.get("bytes") or item.get("path")
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise RecordFault(f"{name}: expected images and videos as paths, or images as bytes")
    return root / item


def _places(file: Path) -> Iterator[tuple[int, int]]:
    """Offset and length of every record of a file. Raises RecipeError."""
    try:
        if not file.stat().st_size:
            return
        with file.open("rb") as content:
            if file.suffix == ".json":
                with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    yield from _objects(mapped)
            else:
                offset = 0
                for line in content:
                    if line.strip():
                        yield offset, len(line)
                    offset += len(line)
    except OSError as error:
        raise RecipeError(f"data '{file.name}' cannot be read: {error.strerror}") from None


def _objects(content: Any) -> Iterator[tuple[int, int]]:
    """Offset and length of the objects of one JSON array, found without reading it whole."""
    depth = start = 0
    for token in _JSON.finditer(content):
        match token[0]:
            case b"{" | b"[":
                start = token.start() if depth == 1 else start
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if depth == 1:
                    yield start, token.end() - start
