"""``spatial-mllm-training grpo`` and ``cold-start``: learning from rewards."""

from pathlib import Path
from typing import Annotated

import typer

from spatial_mllm_ros.cli.terminal import note, warn

from .options import Fields, GiveUp, Output

RECIPE = "YAML file, or one that comes with the package: grpo, grpo_lora, grpo_tiny."
TRACES = "YAML file, or one that comes with the package: cold_start."


def grpo(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=RECIPE, show_default=False)],
    output: Output,
    fields: Fields = None,
    overwrite: GiveUp = False,
) -> None:
    """Train a Spatial-MLLM on the rewards of its own answers (GRPO); writes DIR/model, or DIR/adapter, and curves.

    Killed and run again, it goes on from the last checkpoint. On several GPUs: torchrun --nproc-per-node N -m
    spatial_mllm_training.cli grpo ...
    """
    from ..grpo.recipe import GrpoRecipe
    from ..runs.recipe import load_recipe

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
    from ..runs.recipe import load_recipe

    known = load_recipe(recipe, ColdStartRecipe, fields or ())
    from ..grpo.cold_start import cold_start

    counts = cold_start(known, output, not anew)
    for kind in sorted(name.partition("/")[2] for name in counts if name.startswith("asked/")):
        note(f"{kind}: {counts[f'kept/{kind}']} of {counts[f'asked/{kind}']} kept")
    if not counts["kept"]:
        warn("nothing is kept: no trace is well formed and worth anything; expected a model that thinks when asked to")
    broken = f", {counts['broken']} records are broken" if counts["broken"] else ""
    note(f"wrote {output / 'train.jsonl'}: {counts['kept']} of {counts['asked']}{broken}")
