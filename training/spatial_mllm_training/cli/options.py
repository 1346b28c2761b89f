"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "New folder, or one to go on with."
Output = Annotated[Path, typer.Option("--out", metavar="DIR", help=OUTPUT, show_default=False)]
SET = "Field of the recipe, may be repeated; the value as YAML. Like steps=100 or 'data=[{path: questions}]'."
Fields = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help=SET)]
GiveUp = Annotated[bool, typer.Option("--overwrite", help="Give up what another recipe or other data left there.")]
