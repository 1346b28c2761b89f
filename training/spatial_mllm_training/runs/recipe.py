"""Recipes: what a training run does, as one dataclass and one YAML file. Unknown and impossible values are errors.

Fields are declared with ``spatial_mllm_ros.config.param``, as the node's parameters: default, sentence, unit, range.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from spatial_mllm_ros.config import check, describe, find, param
from spatial_mllm_ros.errors import ErrorCode, SpatialError

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeError(SpatialError):
    """A recipe that cannot be run: the field, what is wrong with it and what would be right."""

    def __init__(self, message: str):
        super().__init__(ErrorCode.BAD_REQUEST, message)


def entries(cls: type, doc: str) -> Any:
    """A field that is a list of mappings, each a ``cls``; a tuple in the recipe."""
    return field(default=(), metadata={"doc": doc, "entries": cls})


def mapping(default: Mapping[str, float], doc: str, *, low: float, high: float) -> Any:
    """A field that is a mapping from names to numbers in a closed range."""
    number = {"type": float, "default": 0.0, "choices": (), "low": low, "high": high, "unit": ""}
    return field(default_factory=lambda: dict(default), metadata={"doc": doc, "each": number})


@dataclass(frozen=True)
class RunRecipe:
    """What every run has."""

    model: str = param("", "folder or hub id of the model to start from")
    seed: int = param(0, "of the order of the data, of sampling and of new weights", low=0, high=2**31 - 1)
    steps: int = param(0, "steps of the optimiser; 0: as many as epochs take", low=0, high=100_000_000)
    epochs: float = param(1.0, "passes over the data, where steps is 0", low=0.0, high=10_000.0)
    batch: int = param(1, "samples a process reads at a time", low=1, high=65_536)
    accumulate: int = param(1, "such batches before each step of the optimiser", low=1, high=65_536)
    learning_rate: float = param(1e-5, "highest learning rate", low=0.0, high=10.0)
    schedule: str = param("cosine", "of the learning rate after the warm-up", choices=("cosine", "linear", "constant"))
    warmup: float = param(0.03, "share of the steps in which the learning rate rises from 0", low=0.0, high=0.99)
    weight_decay: float = param(0.0, "of AdamW; not on biases and norms", low=0.0, high=10.0)
    beta2: float = param(0.999, "second moment's decay of AdamW", low=0.5, high=0.99999)
    max_grad_norm: float = param(1.0, "gradients are scaled down to this norm; 0: never", low=0.0, high=1e6)
    dtype: str = param(
        "float32",
        "of the computation; weights that are trained stay float32",
        choices=("float32", "bfloat16"),
    )
    device: str = param("auto", "auto (the GPU where there is one) or cpu", choices=("auto", "cpu"))
    gradient_checkpointing: bool = param(False, "compute activations twice and keep fewer: less memory, more time")
    workers: int = param(0, "processes that read data; 0: the run's own", low=0, high=256)
    log_every: int = param(10, "steps between two points of the curves", low=1, high=1_000_000)
    checkpoint_every: int = param(500, "steps between checkpoints, a multiple of log_every", low=1, high=1_000_000)
    keep_checkpoints: int = param(2, "newest checkpoints that are kept", low=1, high=10_000)
    evaluate_every: int = param(0, "steps between evaluations; 0: only at the end", low=0, high=1_000_000)
    on_nan: str = param(
        "stop", "stop, or skip the step, where loss or gradients are not finite", choices=("stop", "skip")
    )
    max_nan: int = param(10, "such steps that are skipped at most; one more stops", low=0, high=1_000_000)
    on_broken: str = param(
        "skip", "stop, or skip the sample, where it cannot be read or shown", choices=("stop", "skip")
    )
    max_broken: int = param(100, "such samples that a process skips at most; one more stops", low=0, high=100_000_000)

    def __post_init__(self):
        if self.checkpoint_every % self.log_every:
            raise RecipeError(
                f"checkpoint_every = {self.checkpoint_every}: expected a multiple of log_every, {self.log_every};"
                " else the curve of a resumed run would lack a part"
            )
        if not self.steps and not self.epochs:
            raise RecipeError("steps = 0 and epochs = 0: expected one of them above 0")


Recipe = TypeVar("Recipe")


def load_recipe(path_or_name: str | Path, cls: type[Recipe], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, or from one that comes with the package, by its name.

    Args:
        cls: which recipe; its fields are all that the file may name.
        overrides: ``field=value``, the value as YAML; of a mapping also ``field.name=value``.
    Raises:
        RecipeError: no such recipe, no YAML, or the field that is wrong and what would be right.
    """
    path = Path(path_or_name)
    if not path.is_file() and (shipped := RECIPES / f"{path_or_name}.yaml").is_file():
        path = shipped
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError:
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise RecipeError(f"recipe '{path_or_name}': expected a YAML file or one of {names}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"recipe {path.name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {path.name} holds {type(values).__name__}: expected fields and their values")
    for override in overrides:
        _override(values, override)
    return make_recipe(values, cls)


def make_recipe(values: Mapping[str, Any], cls: type[Recipe]) -> Recipe:
    """A recipe from names and values, as a YAML file gives them. Raises RecipeError."""
    try:
        return _build(values, cls, "")
    except ValueError as error:
        raise RecipeError(str(error)) from None


def recipe_yaml(recipe: RunRecipe) -> str:
    """The recipe with every field, as YAML that ``load_recipe`` reads; letters beyond ASCII are escaped."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
    return yaml.safe_dump(values, sort_keys=False)


def _override(values: dict[str, Any], override: str) -> None:
    """Writes ``field=value`` or ``field.name=value`` into the values of a recipe."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise RecipeError(f"'{override}': expected field=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"{name} = {text!r}: no YAML") from None
    *outer, last = name.strip().split(".")
    for part in outer:
        inner = values.get(part) or {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{name}: {part} is no mapping")
        values[part] = values = dict(inner)
    values[last] = value


def _build(values: Any, cls: Any, where: str) -> Any:
    """A dataclass of ``param`` fields from a mapping; every value is checked. Raises ValueError."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where.rstrip('.') or 'recipe'} = {values!r}: expected fields and their values")
    known = describe(cls)
    fields = {name: find(name, known, "field", where) for name in values}
    return cls(**{name: _value(f"{where}{name}", values[name], p) for name, p in fields.items()})


def _value(name: str, value: Any, p: Mapping[str, Any]) -> Any:
    """One value as its field has it."""
    if cls := p.get("entries"):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} = {value!r}: expected a list")
        return tuple(_build(item, cls, f"{name}[{i}].") for i, item in enumerate(value))
    if number := p.get("each"):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name} = {value!r}: expected names and their numbers")
        return {key: _value(f"{name}.{key}", item, number) for key, item in value.items()}
    if p["type"] is list:
        if not isinstance(value, list):
            raise ValueError(f"{name} = {value!r}: expected a list of names")
        return [check(name, item, {**p, "type": str, "default": ""}) for item in value]
    if p["type"] is float and isinstance(value, str):  # 1e-5, which YAML 1.1 takes for text
        with suppress(ValueError):
            value = float(value)
    return check(name, value, p)
