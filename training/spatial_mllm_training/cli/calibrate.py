"""``spatial-mllm-training calibrate``: the figures that are kept beside a model's weights."""

from pathlib import Path
from typing import Annotated

import typer

from spatial_mllm_ros.cli.options import Load, load_options
from spatial_mllm_ros.cli.terminal import note, out


@load_options("adapter", "device", "dtype", "max_tokens")
def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of the model.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Records that it was not trained with: a JSONL file, or what multispa generate wrote.",
            show_default=False,
        ),
    ],
    limit: Annotated[int | None, typer.Option(help="Only so many questions, evenly spread.", metavar="N")] = None,
    max_frames: Annotated[
        int,
        typer.Option(
            help="Frames that the model was trained with: it will be shown no more. 0: the most that a record shows, or"
            " as many as it had before."
        ),
    ] = 0,
    reasoning: Annotated[
        bool | None,
        typer.Option(
            help="Whether the model was trained to think before it answers: if not, it will not be asked to. By default"
            " as it was before."
        ),
    ] = None,
    precision: Annotated[
        float, typer.Option(help="Share of right answers about motion from which on they are rewards.", min=0, max=1)
    ] = 0.5,
    check: Annotated[
        bool, typer.Option("--check", help="Only say how good the calibration is that the model has.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw reliability diagrams, PNG.", show_default=False)
    ] = None,
    *,
    load: Load,
) -> None:
    """Measure what a model's confidences are worth, and write calibration.json beside its weights.

    That is, beside those of the adapter where there is one. Node and command line use it from then on.
    """
    from ..calibrate.measure import calibrate_model
    from ..calibrate.reliability import draw, lines

    found = calibrate_model(
        model,
        data,
        **load,
        max_frames=max_frames,
        reasoning=reasoning,
        limit=limit,
        precision=precision,
        only_check=check,
    )
    out.print(*lines(found), sep="\n")
    if not check:
        note(f"wrote calibration.json beside the weights of {load['adapter'] or model}")
    if picture is not None:
        draw(found, picture)
        note(f"wrote {picture}")
