"""models/nano from nothing: every stage in its own folder, finished ones are not done again.

questions/  held/    records of the data engine: to learn from; of other rooms, to calibrate with
start/               sizes, tokenizer, random weights
geometry/            the spatial encoder learns geometry
words/  things/      the rest learns to speak of it, then of things and of what is not shown
sft/  even/  grpo/   every question type, some more often; all of them alike; rewards
nano/                the weights in bfloat16, with their calibration
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spatial_mllm_ros.cli.terminal import progress
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import released_name
from spatial_mllm_ros.mllm.weights.files import read_config
from spatial_mllm_ros.mllm.weights.saving import copy_description, new_folder, save_shards, write_json

from ..geometry.train import GeometryRecipe, train_geometry
from ..grpo.recipe import GrpoRecipe
from ..grpo.train import train_grpo
from ..multispa.generate import generate
from ..multispa.item import NOT_OBSERVED, OBJECT_MOTION, OBJECT_SIZE, QUESTION_TYPES
from ..multispa.manifest import GenerateOptions
from ..multispa.sources import open_sources
from ..multispa.wording import WORD
from ..runs.recipe import RecipeError, load_recipe
from ..sft.recipe import SftRecipe
from ..sft.train import train_sft
from .start import make_start
from .words import WordsRecipe, train_words

STAGES: dict[str, type[Any]] = {
    "geometry": GeometryRecipe,
    "words": WordsRecipe,
    "things": WordsRecipe,
    "sft": SftRecipe,
    "even": SftRecipe,
    "grpo": GrpoRecipe,
}
FEWER = (*WORD, *OBJECT_MOTION, "correspondence_choice")
MORE = ("depth_estimation_coordinate", "camera_distance")
SHARES = {**dict.fromkeys(FEWER, 0.5), **dict.fromkeys(MORE, 2.0), **dict.fromkeys(OBJECT_SIZE, 3.0), NOT_OBSERVED: 3.0}
"""Of question types in fine-tuning, 1 of the others: fewer of what is known before it or out of reach, and more of what
is nearly right and about things, whose names it teaches."""
EVEN = {NOT_OBSERVED: 3.0}
"""After it: as many can be answered of one form as of another, or how likely a refusal is hangs on the form."""
LONGEST = 32  # tokens of an answer


@dataclass(frozen=True)
class NanoRecipe:
    """What nano learns from.

    Attributes:
        rooms, held: simulated rooms to learn from, and others to calibrate with; those for tests are in neither.
        per_task, held_per_task: questions of each type from each.
        seed: of questions and of the first weights; that of a stage is in its recipe.
        changes: other values than those of the stages' recipes nano_geometry.yaml ... : ``stage.field=value``.
        workers: processes that simulate rooms.
    """

    rooms: str = "simulated:1000-1299@320x240"
    held: str = "simulated:1400-1439@400x300"
    per_task: int = 6000
    held_per_task: int = 60
    seed: int = 0
    changes: tuple[str, ...] = ()
    workers: int = 2


def make_nano(recipe: NanoRecipe, out: Path) -> Path:
    """Does every stage that is not done yet; a stage that was interrupted goes on where it was.

    Returns:
        ``out/nano``, a model folder.
    Raises:
        SpatialError: a stage cannot be done, or a change is none of its recipe's; says why.
    """
    for change in recipe.changes:
        if change.partition(".")[0] not in STAGES or "." not in change.partition("=")[0]:
            raise RecipeError(f"'{change}': expected STAGE.FIELD=VALUE, the stage one of {', '.join(STAGES)}")
    for name in STAGES:  # before hours are spent
        stage(recipe, name, "later")
    out.mkdir(parents=True, exist_ok=True)
    questions = ask(recipe, out / "questions", recipe.rooms, recipe.per_task)
    held = ask(recipe, out / "held", recipe.held, recipe.held_per_task)
    model = out / "start"
    if not model.is_dir():
        make_start(model, recipe.seed)
    views = f"views={out / 'views'}"
    model = train_geometry(stage(recipe, "geometry", model, views), out / "geometry")
    model = train_words(stage(recipe, "words", model, views), out / "words")
    model = train_words(stage(recipe, "things", model, views), out / "things")
    for name, shares in (("sft", SHARES), ("even", EVEN)):
        told = (mixture(questions, shares), f"evaluate=[{{path: {held}}}]")
        model = train_sft(stage(recipe, name, model, *told), out / name)
    data = f"data=[{{path: {questions}}}]"
    model = train_grpo(stage(recipe, "grpo", model, data), out / "grpo")
    return ship(model, out / "nano", held)


def mixture(questions: Path, shares: Mapping[str, float]) -> str:
    """Data of fine-tuning, each question type by its share, 1 where none is named."""
    groups: dict[float, list[str]] = {}
    for kind in QUESTION_TYPES:
        groups.setdefault(shares.get(kind, 1.0), []).append(kind)
    parts = [
        f"{{path: {questions}, types: [{', '.join(kinds)}], weight: {share * len(kinds)}}}"
        for share, kinds in groups.items()
    ]
    return f"data=[{', '.join(parts)}]"


def stage(recipe: NanoRecipe, name: str, model: Path | str, *fields: str) -> Any:
    """The recipe of a stage, with where it begins and what was changed."""
    own = [change.removeprefix(f"{name}.") for change in recipe.changes if change.startswith(f"{name}.")]
    return load_recipe(f"nano_{name}", STAGES[name], [f"model={model}", *fields, *own])


def ask(recipe: NanoRecipe, folder: Path, rooms: str, per_task: int) -> Path:
    """Questions about rooms; the file of those to learn from."""
    options = GenerateOptions(per_task=per_task, seed=recipe.seed, test_share=0.0, workers=recipe.workers)
    with progress("generating") as move:
        generate(open_sources([rooms]), folder, options, move)
    return folder / "train.jsonl"


def ship(model: Path, folder: Path, held: Path) -> Path:
    """The model in bfloat16, calibrated on held-out records as it is then."""
    from ..calibrate.measure import calibrate_model

    if (folder / "calibration.json").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    trained, _ = load_model(model)
    with new_folder(folder) as part:
        copy_description(model, part)
        write_json(part / "config.json", read_config(model) | {"torch_dtype": "bfloat16"})
        weights = trained.named_parameters()
        save_shards(part, ((released_name(name), value.detach().to(torch.bfloat16)) for name, value in weights))
    calibrate_model(str(folder), held, max_tokens=LONGEST, reasoning=False)
    return folder
