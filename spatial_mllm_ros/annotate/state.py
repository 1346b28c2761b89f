"""A state as data: what its classes declare, written as JSON and arrays, and read back as nothing else.

Pickle makes whatever a file names. Here the types that are declared say what is made, and the file only has the values:
a file that anybody may have written can be wrong, but it cannot run code, and it cannot take more memory than it has.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..frames import Camera, Frame

MAX_TREE = 4_000_000  # bytes of JSON
MAX_BYTES = 2**30  # in all
TREE = "tree.json"
PLAIN = (bool, int, float, str, NoneType)
Read = Callable[[str, int], bytes]


class StateError(ValueError):
    """Data that is no such state."""


class Codec:
    """Writes states of one type, and reads them.

    Classes are written by the annotations in their bodies (and ``__getstate__``, where they have one), which have to
    name every attribute. Of a frame its image is kept, nothing else.

    Args:
        kind: the type: a class, or of the containers list, tuple, dict and Counter, of unions, enums, arrays and plain
            values.
        given: what is not written, by its class: it is the same whenever a state is read.
    """

    def __init__(self, kind: Any, given: Mapping[type, Any]):
        self._kind, self._given = kind, given

    def dump(self, state: Any) -> bytes:
        """A state as bytes.

        Raises:
            StateError: it is not what was declared, or too large.
        """
        arrays: list[NDArray] = []
        tree = json.dumps(self._put(state, self._kind, arrays)).encode()
        if len(tree) > MAX_TREE or len(tree) + sum(array.nbytes for array in arrays) > MAX_BYTES:
            raise StateError("the state is too large to be kept")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as members:  # as numpy.savez, uncompressed
            members.writestr(TREE, tree)
            for number, array in enumerate(arrays):
                with members.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        return file.getvalue()

    def load(self, data: bytes) -> Any:
        """The state that :meth:`dump` was given; the arrays are new ones.

        Raises:
            StateError: the bytes are none, or do not have what was declared.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as members:
                read = _reader(members, len(data))
                return self._get(json.loads(read(TREE, MAX_TREE)), self._kind, read)
        except Exception as error:  # of three libraries, over bytes that can be anything
            raise StateError(f"no state of this program: {error}") from None

    def _put(self, value: Any, kind: Any, arrays: list[NDArray]) -> Any:
        origin, inner = get_origin(kind), get_args(kind)
        if kind in self._given:
            return None
        value = _python(value, kind)
        if origin in (Union, UnionType):
            made = _alternative(inner, type(value).__name__)
            tree = self._put(value, made, arrays)
            return {type(value).__name__: tree} if len(_classes(inner)) > 1 and value is not None else tree
        _require(_is(value, origin or kind), kind)
        if origin is np.ndarray:
            _require(value.dtype == _dtype(kind), kind)
            arrays.append(value)
            return len(arrays) - 1
        if origin in (dict, Counter):
            key, held = (*inner, int)[:2]
            return [[self._put(k, key, arrays), self._put(v, held, arrays)] for k, v in value.items()]
        if origin in (list, tuple):
            return [self._put(v, k, arrays) for v, k in zip(value, _each(inner, origin, len(value)), strict=True)]
        if any(kind is plain for plain in PLAIN):
            return value if value is None else kind(value)
        if issubclass(kind, Enum):
            return value.value
        held, declared = _held(value), _declared(kind)
        _require(held.keys() == declared.keys(), kind)
        return {name: self._put(held[name], hint, arrays) for name, hint in declared.items()}

    def _get(self, tree: Any, kind: Any, read: Read) -> Any:
        origin, inner = get_origin(kind), get_args(kind)
        if kind in self._given:
            return self._given[kind]
        if origin in (Union, UnionType):
            if tree is None or len(_classes(inner)) == 1:
                return self._get(tree, _alternative(inner, "NoneType" if tree is None else ""), read)
            ((name, tree),) = tree.items()
            return self._get(tree, _alternative(inner, name), read)
        if origin is np.ndarray:
            _require(type(tree) is int, kind)
            array = np.lib.format.read_array(io.BytesIO(read(f"{tree}.npy", MAX_BYTES)), allow_pickle=False)
            _require(array.dtype == _dtype(kind), kind)
            return array
        if origin in (dict, Counter):
            key, held = (*inner, int)[:2]
            return origin({self._get(k, key, read): self._get(v, held, read) for k, v in tree})
        if origin in (list, tuple):
            _require(type(tree) is list, kind)
            return origin(self._get(v, k, read) for v, k in zip(tree, _each(inner, origin, len(tree)), strict=True))
        if any(kind is plain for plain in PLAIN):
            _require(type(tree) is kind, kind)
            return tree
        if issubclass(kind, Enum):
            return kind(tree)
        declared = _declared(kind)
        _require(type(tree) is dict and tree.keys() == declared.keys(), kind)
        values = {name: self._get(tree[name], hint, read) for name, hint in declared.items()}
        if kind is Frame or hasattr(kind, "__dataclass_fields__"):
            return kind(**values)  # what it checks is checked again
        made = object.__new__(kind)
        vars(made).update(values)
        return made


def _reader(members: zipfile.ZipFile, left: int) -> Read:
    """Gives members by name, of at most so many bytes each, and of ``left`` bytes in all, however often."""

    def read(name: str, most: int) -> bytes:
        nonlocal left
        info = members.getinfo(name)
        left -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > most or left < 0:
            raise StateError(f"{name} is compressed, or larger than it may be")
        return members.read(info)

    return read


def _held(value: Any) -> dict[str, Any]:
    if isinstance(value, Frame):
        return {"stamp_ns": value.stamp_ns, "camera": value.camera, "image": value.image}
    return value.__getstate__() if "__getstate__" in vars(type(value)) else vars(value)


def _declared(kind: type) -> dict[str, Any]:
    if kind is Frame:
        return {"stamp_ns": int, "camera": Camera, "image": NDArray[np.uint8]}
    return get_type_hints(kind)


def _classes(alternatives: tuple[Any, ...]) -> list[Any]:
    return [kind for kind in alternatives if kind is not NoneType]


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _python(value: Any, kind: Any) -> Any:
    """A number of NumPy as one of Python, and a whole one as a float where that is declared."""
    if kind is float and type(value) is int:
        return float(value)
    return value.item() if isinstance(value, np.generic) else value


def _alternative(alternatives: tuple[Any, ...], name: str) -> Any:
    """That of this name, or the only one besides None."""
    if name == "NoneType" and NoneType in alternatives:
        return NoneType
    classes = _classes(alternatives)
    found = [kind for kind in classes if len(classes) == 1 or kind.__name__ == name]
    _require(bool(found), alternatives)
    return found[0]


def _each(inner: tuple[Any, ...], origin: Any, length: int) -> tuple[Any, ...]:
    """The types of the items of a list or a tuple."""
    return inner[:1] * length if origin is list or inner[1:] == (...,) else inner


def _dtype(kind: Any) -> np.dtype:
    """Of ``NDArray[...]``."""
    return np.dtype(get_args(get_args(kind)[1])[0])


def _require(right: bool, kind: Any) -> None:
    if not right:
        raise StateError(f"expected {getattr(kind, '__name__', kind)}")
