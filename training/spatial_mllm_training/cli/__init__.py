"""The command ``spatial-mllm-training``: every command is a few lines over the library; ``--help`` is the manual."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from spatial_mllm_ros.cli.options import AsJson, Load, ask_params, load_options
from spatial_mllm_ros.cli.terminal import Commands, note, out, progress, warn
from spatial_mllm_ros.errors import SpatialError

from ..multispa.manifest import GenerateOptions
from .calibrate import calibrate
from .training import Output, cold_start, geometry, grpo, nano, sft

OPTIONS = GenerateOptions()
RUNNERS = ("pool", "ray")
BASELINES = ("chance", "majority", "geometry")
SHOWN = 5  # reasons and faults that are told one by one
MANUAL = {"help_option_names": ["-h", "--help"]}

app = Commands(
    name="spatial-mllm-training",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=MANUAL,
    help="Spatial questions with exact answers from recordings, and benchmarks that score answers.",
)
multispa = typer.Typer(
    no_args_is_help=True,
    context_settings=MANUAL,
    help="Multi-frame spatial questions from posed recordings (MultiSPA).",
)
app.add_typer(multispa, name="multispa")
for command in (calibrate, sft, grpo, cold_start, geometry, nano):
    app.command()(command)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="What generate wrote.", show_default=False)]
SOURCES = (
    "Bag, ScanNet export, 7-Scenes or TUM folder, TAPVid-3D file, or a folder of them; or simulated rooms by their"
    " seeds, simulated:SEED or simulated:FIRST-LAST."
)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    app.debug = debug


@multispa.command()
def generate(
    source: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SOURCES, show_default=False)],
    output: Output,
    per_task: Annotated[
        int, typer.Option(help="Questions of each type, of all scenes and both splits together.", metavar="N")
    ] = OPTIONS.per_task,
    runner: Annotated[
        str,
        typer.Option(
            "--engine", help="pool: processes of this machine. ray: a cluster, that of RAY_ADDRESS, or this machine."
        ),
    ] = OPTIONS.runner,
    workers: Annotated[int, typer.Option(help="Scenes at a time; 0 is one for each core.")] = OPTIONS.workers,
    seed: Annotated[int, typer.Option(help="Another one asks other questions of the same scenes.")] = OPTIONS.seed,
    types: Annotated[
        list[str] | None, typer.Option(help="Only this question type, may be repeated.", metavar="TYPE")
    ] = None,
    test_share: Annotated[
        float, typer.Option(help="Share of scenes that are kept for testing; no scene is in both.")
    ] = OPTIONS.test_share,
    not_observed: Annotated[
        float, typer.Option(help="Share of questions that the images do not answer.")
    ] = OPTIONS.not_observed,
    file_format: Annotated[
        str, typer.Option("--format", help="Of records: jsonl, parquet (with images inside) or both.")
    ] = OPTIONS.format,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Give up what other options made in that folder.")
    ] = False,
) -> None:
    """Write questions with exact answers and their images; the same scenes and options give the same bytes.

    Killed and run again, it goes on where it was. Parquet files are read by Hugging Face datasets:
    load_dataset("parquet", data_files={"train": "DIR/annotations/train/*.parquet"}).
    """
    from ..multispa.generate import generate
    from ..multispa.sources import open_sources

    if runner not in RUNNERS:
        raise ValueError(f"engine '{runner}': expected {' or '.join(RUNNERS)}")
    wanted = GenerateOptions(
        per_task=per_task,
        seed=seed,
        types=tuple(types or OPTIONS.types),
        test_share=test_share,
        not_observed=not_observed,
        format=file_format,
        runner=runner,
        workers=workers,
        overwrite=overwrite,
    )
    refs = open_sources(source)
    with progress("generating") as move:
        done = generate(refs, output, wanted, move)
    tell("scene", done.skipped)
    tell("fault", {what: f"{count} times" for what, count in done.faults.items()})
    if wanted.test_share and not done.scenes.get("test"):
        warn(f"no test questions: none of {len(refs)} scenes fell into the test share of {wanted.test_share:g}")
    resumed = f", {done.resumed} steps of an earlier run kept" if done.resumed else ""
    parts = " and ".join(f"{sum(counts.values())} {split}" for split, counts in done.questions.items() if counts)
    note(f"wrote {output}: {parts or 'no'} questions of {sum(done.scenes.values())} scenes{resumed}")


@multispa.command()
def stats(folder: Folder, as_json: AsJson = False) -> None:
    """Count questions, answers and scenes, and say what was left out and why."""
    from spatial_mllm_ros.cli.show import plain_table

    from ..multispa.stats import statistics

    known = statistics(folder)
    if as_json:
        typer.echo(json.dumps(known.values(), indent=2))
        return
    table = plain_table(*known.columns(), right=(*known.splits, "candidates"))
    for row in known.rows():
        table.add_row(*row)
    out.print(table)
    for reason, count in known.reasons.items():
        out.print(f"{count} scenes: {reason}")
    for what, counts in (("frames", known.dropped), ("faults", known.faults)):
        for reason, count in counts.items():
            out.print(f"{count} {what}: {reason}")
    if not known.finished:
        out.print("the run is not finished: this is what there is so far")


@multispa.command()
def show(
    folder: Folder,
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Page to write; replaced where it exists.")
    ] = Path("multispa.html"),
    count: Annotated[int, typer.Option(help="Records of each question type.")] = 3,
    seed: Annotated[int, typer.Option(help="Another one shows others.")] = 0,
) -> None:
    """Write one HTML page: questions with their images and answers, and histograms before and after balance."""
    from ..multispa.show import show

    show(folder, output, count, seed)
    note(f"wrote {output}")


@app.command()
@load_options()
def evaluate(
    suite: Annotated[
        str,
        typer.Argument(metavar="SUITE", help="multispa, vsi_bench, scanqa, sqa3d or abstention.", show_default=False),
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder as its authors publish it.", show_default=False)],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.", show_default=False)],
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Score these: JSON lines {"id": ..., "prediction": ...}.')
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Score this one: chance, majority, or geometry (from depth and poses).")
    ] = "",
    model: Annotated[str, typer.Option("--model", metavar="M", help="Ask this model: folder or hub id.")] = "",
    source: Annotated[
        list[str] | None, typer.Option(help="Scenes that geometry reads, may be repeated.", metavar="SOURCE")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Baseline that gets a column of its own, may be repeated.", metavar="NAME")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many questions, the first ones.", metavar="N")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Give up answers of an earlier run.")] = False,
    *,
    load: Load,
) -> None:
    """Score answers to a benchmark: tables with confidence intervals, result.json, and a page with the worst cases.

    Killed and run again, it goes on where it was.
    """
    from ..benchmarks.evaluate import evaluate
    from ..benchmarks.page import lines
    from ..multispa.sources import open_sources

    if sum(map(bool, (predictions, baseline, model))) != 1:
        raise ValueError("who answers? expected one of --predictions FILE, --baseline NAME or --model M")
    if unknown := {baseline or "chance", *(compare or ())} - set(BASELINES):
        raise ValueError(f"baseline '{unknown.pop()}': expected {', '.join(BASELINES)}")
    answers: Any = baseline
    settings = ""
    if predictions:
        from ..benchmarks.answers import read_predictions

        answers = read_predictions(predictions)
    elif model:
        from spatial_mllm_ros.mllm.calibration import known_calibration
        from spatial_mllm_ros.mllm.weights.files import find_folder

        from ..benchmarks.answers import Model

        params = ask_params(model=model, **load)
        answers = Model(params, data if data.is_dir() else data.parent)
        with suppress(SpatialError):  # loading will say so
            for name in filter(None, (model, params.adapter)):
                find_folder(name)  # what comes from the hub is here from now on, with its calibration
        own = known_calibration(model, params.adapter)
        settings = f"adapter={params.adapter} dtype={params.dtype} max_tokens={params.max_tokens}"
        settings += f" encoders={params.encoders}" if params.encoders else ""
        settings += f" not_observed={params.not_observed:g} calibrated={own.not_observed} frames={own.frames()}"
    name = model or baseline or (predictions.stem if predictions else "")
    known = evaluate(
        suite,
        data,
        answers,
        output,
        limit=limit,
        resume=not anew,
        name=name,
        settings=settings,
        compare=compare or (),
        refs=open_sources(source or ()),
    )
    out.print(*lines(known), sep="\n")
    note(f"wrote {output / 'result.html'} and {output / 'result.json'}")


def tell(what: str, reasons: dict[str, str]) -> None:
    """The first of them, one a line, and how many more there are."""
    for name, why in list(reasons.items())[:SHOWN]:
        warn(f"{what} {name}: {why}" if what == "scene" else f"{name}: {why}")
    if len(reasons) > SHOWN:
        warn(f"and {len(reasons) - SHOWN} more {what}s; the manifest names all")
