"""How commands talk: results on stdout; progress, warnings and errors on stderr, an error in one line."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from ..errors import SpatialError
from ..printable import printable

LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal
WIDE = 200  # columns where nobody looks: tables in files and pipes are not folded


class PlainConsole(Console):
    """Where all text of commands goes: none of it is markup, and a terminal obeys none of it."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


out = PlainConsole(width=None if sys.stdout.isatty() else WIDE)
err = PlainConsole(stderr=True)

Item = TypeVar("Item")


class Commands(typer.Typer):
    """A Typer app whose failures are one line on stderr and exit code 1, unless ``debug`` asks for the traceback."""

    debug = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a video is said here
        warnings.showwarning = lambda message, *_, **__: say("warning", str(message))
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:
            if self.debug:
                err.print_exception()
            say("error", explain(error))
            sys.exit(1)


def explain(error: Exception) -> str:
    """One line for a person: what went wrong, and for a missing package the command that installs it."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("spatial_mllm_ros"):
        from ..doctor import install_command

        return f"{error.name} is not installed: {install_command(error.name)}"
    if isinstance(error, ImportError) and "pip install" in str(error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (SpatialError, ValueError)):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (--debug before the command shows where)"


def say(kind: str, text: str) -> None:
    style = {"error": "bold red", "warning": "yellow"}[kind]
    err.print(Text.assemble((f"{kind}:", style), " ", " ".join(text.split())), soft_wrap=True)


def warn(text: str) -> None:
    say("warning", text)


def note(text: str) -> None:
    """What was done, on stderr so that stdout stays the result."""
    err.print(text, soft_wrap=True)


def lines(what: str) -> Callable[[float, float | None], None]:
    """Progress where there is no terminal: a plain line, at most every ``LINE_SECONDS``, fractions as a percentage."""
    begun = said = monotonic()

    def move(done: float, total: float | None) -> None:
        nonlocal said
        if (now := monotonic()) - said < LINE_SECONDS:
            return
        said = now
        if not total:
            note(f"{what}: {done:.0f}")
            return
        part = f"{100 * done / total:.0f} %" if total <= 1 else f"{done:.0f} of {total:.0f}"
        left = (now - begun) * (total / done - 1) if done else 0.0
        note(f"{what}: {part}, about {left / 60:.0f} min left" if left >= 60 else f"{what}: {part}")

    return move


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on a terminal, a line now and then elsewhere; yields a function (done, total) that moves it."""
    if not err.is_terminal:
        yield lines(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def writing() -> Iterator[Callable[[str], None]]:
    """The end of an answer that grows, on a terminal; yields a function that takes the text so far."""
    with err.status("looking") as shown:
        yield lambda text: shown.update(Text("answering: " + " ".join(text.split())[-60:]))


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The same items, with a progress bar over them."""
    with progress(what) as move:
        for done, item in enumerate(items, 1):
            yield item
            move(done, total)
