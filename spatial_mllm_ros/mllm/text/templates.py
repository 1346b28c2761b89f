"""Chat templates of checkpoints, which are programs of strangers: rendered in bounded steps and characters.

Jinja's sandbox keeps a template from Python's objects, but not from looping for ever, or from doubling a text forty
times. Here every turn of a loop, every call and every character is counted, and of the language there is what prompts
need: loops, conditions, variables, texts and numbers; no macros, no containers within containers.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import TemplateError, Undefined, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 50_000  # characters of a template, and of one value in it
MOST_STEPS = 5_000  # turns of loops, and calls
MOST_CHARACTERS = 2_000_000  # of all values
DEEPEST = 5  # loops within loops
LARGEST = 10**12  # number
TEXT_FILTERS = ("trim", "lower", "upper", "capitalize", "title", "e", "escape", "safe", "string", "int")
OTHER_FILTERS = ("length", "count", "default", "d", "first", "last", "items", "selectattr", "rejectattr", "map")
TEXT = {
    "strip",
    "lstrip",
    "rstrip",
    "split",
    "rsplit",
    "startswith",
    "endswith",
    "lower",
    "upper",
    "title",
    "capitalize",
}
PAIRS = {"get", "items", "keys", "values"}
REFUSED = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Block, nodes.Extends, nodes.Include, nodes.Import)
COUNTED = (nodes.For, nodes.AssignBlock, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict)


class TooMuch(Exception):
    """A template that takes more than it may, or does what no prompt needs; says what."""


def render(template: str, messages: list[dict[str, Any]], **values: Any) -> str:
    """A chat template around messages.

    Args:
        template: of a checkpoint. values: what else it may name, such as ``add_generation_prompt``.
    Raises:
        ValueError: it is no template, fails, or does not stay within the limits.
    """
    if len(template) > LONGEST:
        raise ValueError(f"it has {len(template)} characters: expected at most {LONGEST}")
    try:
        sandbox, parts = _Sandbox(), []
        for part in sandbox.from_string(template).generate(messages=messages, **values):
            parts.append(sandbox.counted(part))
        return "".join(parts)
    except TooMuch as error:
        raise ValueError(f"it {error}") from None
    except (TemplateError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"it cannot be rendered: {_words(error)}") from None
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NameError) as error:  # of its own
        raise ValueError(f"it cannot be rendered: {_words(error)}") from None


class _Generation(Extension):
    """What templates mark for training as said by the model is text like any other."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one rendering."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self):
        self._steps = self._characters = 0
        extensions = [loopcontrols, _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=self._printed)
        known, namespace = self.filters, self.globals["namespace"]
        self.filters = {name: known[name] for name in OTHER_FILTERS} | {"join": self._join, "list": self._turns}
        self.filters |= {name: self._of_text(known[name]) for name in TEXT_FILTERS}
        self.filters |= {"printed": self._printed, "turns": self._in_turns, "tojson": self._of_text(json.dumps)}
        self.globals = {"range": self._range, "namespace": namespace, "raise_exception": _refuse}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if any(tree.find_all(REFUSED)) or any(loop.recursive for loop in tree.find_all(nodes.For)):
            raise TooMuch("has macros, blocks or other templates, which no prompt needs")
        if _depth(tree, nodes.For) > DEEPEST or _depth(tree, nodes.If) > 2 * DEEPEST:
            raise TooMuch(f"has loops within loops, or conditions, more than {DEEPEST} or {2 * DEEPEST} deep")
        for node in list(tree.find_all(COUNTED)):
            if isinstance(node, nodes.For):
                node.iter = _filtered("turns", node.iter)
            elif isinstance(node, nodes.AssignBlock):
                node.filter = _filtered("printed", node.filter)
            elif isinstance(node, nodes.Concat):
                node.nodes = [_filtered("printed", part) for part in node.nodes]
            elif isinstance(node, nodes.Dict):
                for pair in node.items:
                    pair.value = _filtered("printed", pair.value)
            elif not (isinstance(node, nodes.Tuple) and node.ctx == "store"):
                node.items = [_filtered("printed", item) for item in node.items]
        tree.set_environment(self)
        return tree

    def call(self, context: Context, called: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self._step()
        return super().call(context, called, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = all(isinstance(side, int | float) for side in (left, right))
        if operator == "**" or (operator != "+" and not numbers):
            raise TooMuch(f"uses {operator} on other than numbers, or powers, which no prompt needs")
        if operator == "+" and isinstance(left, list | tuple):
            return [*self._turns(left), *self._turns(right)]
        return self._printed(super().call_binop(context, operator, self._printed(left), self._printed(right)))

    def wrap_str_format(self, value: Any) -> None:
        """``str.format`` is no safe attribute, and nothing else takes its place."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | Mapping):
            return attr in (TEXT if isinstance(obj, str) else PAIRS)
        return not isinstance(obj, list | tuple | int | float) and super().is_safe_attribute(obj, attr, value)

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MOST_STEPS:
            raise TooMuch(f"takes more than {MOST_STEPS} steps")

    def counted(self, text: str) -> str:
        """The same text, unless it is too long, or all of it together is."""
        self._characters += len(text)
        if len(text) > LONGEST or self._characters > MOST_CHARACTERS:
            raise TooMuch(f"makes more than {LONGEST} characters at once, or {MOST_CHARACTERS} in all")
        return text

    def _printed(self, value: Any) -> Any:
        """The same text or number, unless it is too large, or all of them together are."""
        if isinstance(value, str):
            self.counted(value)
        elif isinstance(value, int | float):
            if not -LARGEST < value < LARGEST:
                raise TooMuch(f"makes a number beyond {LARGEST:.0e}")
        elif value is not None and not isinstance(value, Undefined):
            raise TooMuch(f"uses a {type(value).__name__} as text")
        return value

    def _turns(self, values: Any) -> list[Any]:
        """What there is to loop over, as a list."""
        if not isinstance(values, Iterable):
            raise TypeError(f"{type(values).__name__} is nothing to loop over")
        turns = []
        for value in values:
            self._step()
            turns.append(value)
        return turns

    @pass_context
    def _in_turns(self, _context: Context, values: Any) -> list[Any]:
        """The same of a loop; that it takes a context keeps Jinja from doing it once, beforehand."""
        return self._turns(values)

    def _range(self, *bounds: int) -> range:
        self._step(len(numbers := range(*bounds)))
        return numbers

    def _join(self, values: Any, between: str = "") -> str:
        return str(self._printed(between)).join(str(self._printed(value)) for value in self._turns(values))

    def _of_text(self, change: Any) -> Any:
        return lambda value, *args, **kwargs: self._printed(change(self._printed(value), *args, **kwargs))


def _filtered(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno if node is not None else 1)


def _depth(node: nodes.Node, kind: type[nodes.Node]) -> int:
    """How deep nodes of a kind lie within each other; Jinja takes three times as long for each deeper loop."""
    below = max((_depth(child, kind) for child in node.iter_child_nodes()), default=0)
    return below + isinstance(node, kind)


def _refuse(text: Any = "") -> None:
    raise TemplateError(str(text)[:200])


def _words(error: Exception | MemoryError) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
