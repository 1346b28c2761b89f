"""``spatial-mllm-training sft``, ``grpo``, ``cold-start``, ``geometry`` and ``nano``: what trains a model."""

from pathlib import Path
from typing import Annotated

import typer

from spatial_mllm_ros.cli.terminal import note, warn

from ..runs.recipe import load_recipe

OUTPUT = "New folder, or one to go on with."
Output = Annotated[Path, typer.Option("--out", metavar="DIR", help=OUTPUT, show_default=False)]
SET = "Field of the recipe, may be repeated; the value as YAML. Like steps=100 or 'data=[{path: questions}]'."
Fields = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help=SET)]
GiveUp = Annotated[bool, typer.Option("--overwrite", help="Give up what another recipe or other data left there.")]
SFT = "YAML file, or one that comes with the package: sft_connector, sft_lora, sft_tiny."
GRPO = "YAML file, or one that comes with the package: grpo, grpo_lora, grpo_tiny."
TRACES = "YAML file, or one that comes with the package: cold_start."


def sft(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=SFT, show_default=False)],
    output: Output,
    fields: Fields = None,
    overwrite: GiveUp = False,
) -> None:
    """Fine-tune a Spatial-MLLM on records with answers; writes DIR/model, or DIR/adapter, and curves.

    Killed and run again, it goes on from the last checkpoint. On several GPUs: torchrun --nproc-per-node N -m
    spatial_mllm_training.cli sft ..., or accelerate launch with a configuration of spatial_mllm_training/recipes.
    """
    from ..sft.recipe import SftRecipe

    known = load_recipe(recipe, SftRecipe, fields or ())
    from ..runs.callbacks import is_main  # after the recipe was read: these take seconds to import
    from ..sft.train import train_sft

    place = train_sft(known, output, overwrite)
    if is_main():
        note(f"wrote {place}")


def grpo(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=GRPO, show_default=False)],
    output: Output,
    fields: Fields = None,
    overwrite: GiveUp = False,
) -> None:
    """Train a Spatial-MLLM on the rewards of its own answers (GRPO); writes DIR/model, or DIR/adapter, and curves.

    Killed and run again, it goes on from the last checkpoint. On several GPUs: torchrun --nproc-per-node N -m
    spatial_mllm_training.cli grpo ...
    """
    from ..grpo.recipe import GrpoRecipe

    known = load_recipe(recipe, GrpoRecipe, fields or ())
    from ..grpo.train import train_grpo  # after the recipe was read: these take seconds to import
    from ..runs.callbacks import is_main

    place = train_grpo(known, output, overwrite)
    if is_main():
        note(f"wrote {place}")


def cold_start(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=TRACES, show_default=False)],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where train.jsonl goes.", show_default=False)],
    fields: Fields = None,
    anew: Annotated[bool, typer.Option("--anew", help="Give up traces of an earlier run.")] = False,
) -> None:
    """Sample chains of thought and keep the best: records that sft learns with answers: written.

    Killed and run again, it goes on where it was.
    """
    from ..grpo.recipe import ColdStartRecipe

    known = load_recipe(recipe, ColdStartRecipe, fields or ())
    from ..grpo.cold_start import cold_start

    counts = cold_start(known, output, not anew)
    for kind in sorted(name.partition("/")[2] for name in counts if name.startswith("asked/")):
        note(f"{kind}: {counts[f'kept/{kind}']} of {counts[f'asked/{kind}']} kept")
    if not counts["kept"]:
        warn("nothing is kept: no trace is well formed and worth anything; expected a model that thinks when asked to")
    broken = f", {counts['broken']} records are broken" if counts["broken"] else ""
    note(f"wrote {output / 'train.jsonl'}: {counts['kept']} of {counts['asked']}{broken}")


def geometry(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="YAML file, or the name of one that is shipped.", show_default=False)
    ],
    output: Output,
    fields: Fields = None,
    overwrite: GiveUp = False,
) -> None:
    """Teach the spatial encoder of a model depth, cameras and points, from posed scenes with depth.

    Killed and run again, it goes on from the newest checkpoint.
    """
    from ..geometry.train import GeometryRecipe, train_geometry

    note(f"wrote {train_geometry(load_recipe(recipe, GeometryRecipe, fields or ()), output, overwrite)}")


def nano(
    output: Output,
    rooms: Annotated[str, typer.Option(help="Simulated rooms to learn from.")] = "simulated:1000-1299@320x240",
    held: Annotated[str, typer.Option(help="Others, to calibrate with.")] = "simulated:1400-1439@400x300",
    per_task: Annotated[int, typer.Option(help="Questions of each type to learn from.")] = 6000,
    held_per_task: Annotated[int, typer.Option(help="Questions of each type to calibrate with.")] = 60,
    seed: Annotated[int, typer.Option(help="Of questions and of the first weights.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.FIELD=VALUE", help="Another value than a stage's recipe has."),
    ] = None,
) -> None:
    """Make models/nano from nothing: rooms, geometry, words, things, fine-tuning, rewards, calibration. Takes hours.

    Killed and run again, it goes on where it was. The stages' recipes are nano_geometry, nano_words, nano_things,
    nano_sft, nano_even and nano_grpo.
    """
    from ..nano.make import NanoRecipe, make_nano

    recipe = NanoRecipe(rooms, held, per_task, held_per_task, seed, tuple(changes or ()))
    note(f"wrote {make_nano(recipe, output)}")
