"""``spatial-mllm-training geometry`` and ``nano``: a spatial encoder from posed scenes, and the small model whole."""

from typing import Annotated

import typer

from spatial_mllm_ros.cli.terminal import note

from .options import Fields, GiveUp, Output


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
    from ..runs.recipe import load_recipe

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
