"""Message types by the definitions in a recording, which are measured before a parser or a compiler sees them."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import get_types_from_idl, get_types_from_msg

from .errors import BagError
from .limits import ARRAY, BRACKETS, DEFINITION, EXPRESSIONS, FIELDS, IDL, PARTS, TYPES
from .types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, ODOMETRY, POSE, TRANSFORMS, Typestore, own_store, typestore

Types: TypeAlias = dict[str, tuple[list, list]]  # name -> constants and fields, as rosbags describes them
HEADER = "std_msgs/msg/Header"  # that of ROS 1 has a field more, which the conversion to CDR drops
READ = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, TRANSFORMS, ODOMETRY, POSE)  # what is taken apart here
TOKENS = re.compile(
    r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\"|[^"])*"?|@\s*[\w:]*|<<|[()\[\]{}<>=|^&*/%~+-]|[^\s/"@()\[\]{}<>=|^&*%~+-]+|\s+',
    re.DOTALL,
)


def recorded_types(definition: MessageDefinition, name: str) -> Typestore:
    """The known types, with those that this definition of ``name`` lays out differently replaced.

    Raises:
        TooMuch, and whatever a parser makes of broken text: it cannot be used.
    """
    types = PARSERS[definition.format](DEFINITION.checked(definition.data), name)
    TYPES.check(len(types))
    FIELDS.check(sum(len(constants) + len(fields) for constants, fields in types.values()))
    _check_parts(types)
    known = typestore()
    types = {n: t for n, t in types.items() if t[1] or n not in known.fielddefs}
    types = {n: t for n, t in types.items() if n != HEADER and known.fielddefs.get(n, ((), ()))[1] != t[1]}
    recorded = _with(types)
    return _with({n: t for n, t in types.items() if not _same(recorded, known, n)})


def missing(store: Typestore, name: str) -> str:
    """The field that a type that is read here lacks in a store, in words; empty where it has them all."""
    return _missing(store, name) if name in READ and store is not typestore() else ""


def has_lists(store: Typestore, name: str) -> bool:
    """Whether a message holds any number of others, or of texts, each of which becomes an object."""
    names, seen = [name], set()
    while names:
        if (name := names.pop()) in seen:
            continue
        seen.add(name)
        for _, kind in store.fielddefs[name][1]:
            listed, inner, what = _inner(kind)
            if listed and (inner == Nodetype.NAME or what == "string"):
                return True
            names += [what] if inner == Nodetype.NAME else []
    return False


def _msg(text: str, name: str) -> Types:
    TYPES.check(text.count("\n====") + 1)
    FIELDS.check(sum(1 for line in text.splitlines() if line.partition("#")[0].strip()))
    return get_types_from_msg(text, name)


def _idl(text: str, name: str) -> Types:
    return get_types_from_idl(plain_idl(text))


def plain_idl(text: str) -> str:
    """A definition in IDL without comments and annotations, neither of which lay anything out.

    Raises:
        TooMuch: it is long, or its constants are many. BagError: it has constants that have to be computed, for which
            the parser takes 64 times as long with each bracket.
    """
    kept, depth, skipping = [], 0, 0
    for token in TOKENS.findall(text):
        if token.startswith(("/*", "//", "@")):
            skipping = -1 if token.startswith("@") else skipping  # brackets may follow
        elif skipping:
            skipping = _annotation(token, skipping)
            if not skipping and token != ")":
                kept.append(token)
        else:
            kept.append(token)
    plain = [token for token in kept if not token.isspace()]
    for token in plain:
        if token in ("(", ")", "<<", *"|^&*/%~"):
            raise BagError(f"'{token}' in a definition: constants that have to be computed are not read")
        depth += (token in "{[<") - (token in "}]>") if len(token) == 1 else 0
        BRACKETS.check(depth)
    EXPRESSIONS.check(sum(token in ("=", "[", "<", "+", "-") for token in plain))
    return IDL.checked("".join(kept))


def _annotation(token: str, skipping: int) -> int:
    """What follows an annotation: -1 before its brackets, their depth within, 0 after it."""
    if skipping < 0:
        return 1 if token == "(" else -1 if token.isspace() else 0
    return skipping + (token == "(") - (token == ")")


def _check_parts(types: Types) -> None:
    """Lengths of arrays, and how many objects a message of fixed length has: there is code for each."""
    known, counted = typestore().fielddefs, dict[str, int]()

    def parts(name: str) -> int:
        if name not in counted:
            counted[name] = PARTS.most  # one that holds itself never ends
            total = 0
            for _, kind in (types.get(name) or known.get(name) or ((), ()))[1]:
                length = int(kind[1][1]) if kind[0] == Nodetype.ARRAY else 1
                listed, inner, what = _inner(kind)
                if listed and not 0 <= length <= ARRAY.most:
                    raise BagError(f"an array of {length} parts, at most {ARRAY.most} are read")
                if inner == Nodetype.NAME:
                    total += length * (1 + parts(what))
                elif listed and what == "string":
                    total += length
                PARTS.check(total)
            counted[name] = total
        return counted[name]

    for name in types:
        parts(name)


def _with(types: Types) -> Typestore:
    """The known types with some replaced."""
    if not types:
        return typestore()
    store = own_store()
    for name in types:
        store.fielddefs.pop(name, None)
        store.types.pop(name, None)
    store.register(types)
    return store


def _same(recorded: Typestore, known: Typestore, name: str) -> bool:
    """Whether both lay a type out alike, whatever its fields are called."""
    if name == HEADER or name not in known.fielddefs:
        return name == HEADER
    kinds, others = ([kind for _, kind in store.fielddefs[name][1]] for store in (recorded, known))
    parts = [kind[1][0] if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else kind for kind in kinds]
    return kinds == others and all(_same(recorded, known, str(part[1])) for part in parts if part[0] == Nodetype.NAME)


def _missing(store: Typestore, name: str) -> str:
    recorded = dict(store.fielddefs[name][1]) if name in store.fielddefs else {}
    for field, kind in typestore().fielddefs[name][1]:
        if field not in recorded:
            return f"no '{field}' in {name}"
        mine, other = _inner(kind), _inner(recorded[field])
        if mine != other:
            return f"no '{field}' of its type in {name}"
        if mine[1] == Nodetype.NAME and (lacking := _missing(store, str(mine[2]))):
            return lacking
    return ""


def _inner(kind: Any) -> tuple[bool, Any, Any]:
    """Whether there may be several, and of what they are."""
    listed = kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE)
    inner = kind[1][0] if listed else kind
    return listed, inner[0], inner[1][0] if inner[0] == Nodetype.BASE else inner[1]


PARSERS: dict[MessageDefinitionFormat, Callable[[str, str], Any]] = {
    MessageDefinitionFormat.NONE: lambda text, name: {},
    MessageDefinitionFormat.MSG: _msg,
    MessageDefinitionFormat.IDL: _idl,
}
