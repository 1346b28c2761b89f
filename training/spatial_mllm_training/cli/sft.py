"""``spatial-mllm-training sft``."""

from typing import Annotated

import typer

from spatial_mllm_ros.cli.terminal import note

from .options import Fields, GiveUp, Output

RECIPE = "YAML file, or one that comes with the package: sft_connector, sft_lora, sft_tiny."


def sft(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=RECIPE, show_default=False)],
    output: Output,
    fields: Fields = None,
    overwrite: GiveUp = False,
) -> None:
    """Fine-tune a Spatial-MLLM on records with answers; writes DIR/model, or DIR/adapter, and curves.

    Killed and run again, it goes on from the last checkpoint. On several GPUs: torchrun --nproc-per-node N -m
    spatial_mllm_training.cli sft ..., or accelerate launch with a configuration of spatial_mllm_training/recipes.
    """
    from ..runs.recipe import load_recipe
    from ..sft.recipe import SftRecipe

    known = load_recipe(recipe, SftRecipe, fields or ())
    from ..runs.callbacks import is_main  # after the recipe was read: these take seconds to import
    from ..sft.train import train_sft

    place = train_sft(known, output, overwrite)
    if is_main():
        note(f"wrote {place}")
