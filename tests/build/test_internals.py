"""What we reach into of libraries beyond what they promise (``internals``) still works as we need it.

A check fails when a new version no longer works as our code needs it, and says which row that is. What a row names has
to be in our code and in CONTRIBUTING.md, and no private name of another object may be used without a row.
"""

import ast
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

from .internals import Row, model, robot, training

ROOT = Path(__file__).parents[2]
FOLDERS = ("spatial_mllm_ros", "training/spatial_mllm_training", "tools", "benchmarks", "launch")
ROWS = [*robot.ROWS, *model.ROWS, *training.ROWS]
WITHOUT_ROW = {"os._exit", "memory._placed", "memory._gauges"}  # the first is documented, the others are ours


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_it_is_still_so(row, tmp_path):
    if find_spec(row.module) is None:
        pytest.skip(f"{row.module} is not installed")
    try:
        row.check(tmp_path)
    except (Exception, pytest.fail.Exception) as error:
        why = f"{type(error).__name__}: {error}"
        pytest.fail(f'row "{row}" ({row.file}): {installed(row)} no longer works like that: {why}')


def installed(row: Row) -> str:
    """Name and version of what a row is about."""
    for name in (f"ros-{row.library}", row.library):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return row.library


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_that_is_needed_no_more_goes(row):
    code = (ROOT / row.file).read_text("utf-8")
    words = [row.text] if row.text in code else row.text.split()
    gone = [word for word in words if word not in code]
    assert not gone, f'row "{row}": {row.file} has no {gone[0]} any more'


def test_contributing_has_the_same_table():
    """Every row, and no other: library, what, where."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = page[page.index("| library |") :].split("\n\n")[0].splitlines()[2:]
    assert table == [f"| {row.library} | {row.what} | {row.file} |" for row in ROWS]


def test_a_broken_row_says_its_name(tmp_path):
    def check(_: Path) -> None:
        raise AttributeError("no attribute 'spin'")

    row = Row("pytest", "spin of a test", "tests/build/test_internals.py", "", check, "pytest")
    with pytest.raises(pytest.fail.Exception) as failed:
        test_it_is_still_so(row, tmp_path)
    assert str(failed.value) == (
        f'row "pytest: spin of a test" (tests/build/test_internals.py): pytest {pytest.__version__} no longer works'
        " like that: AttributeError: no attribute 'spin'"
    )


@cache
def ours() -> list[tuple[str, ast.Module]]:
    """Name and syntax tree of every file of ours."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    return [(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text("utf-8"))) for file in files]


def test_no_private_name_of_others_is_used_without_a_row():
    found = set()
    for name, tree in ours():
        known = " ".join(row.text for row in ROWS if row.file == name)
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        for n in ast.walk(tree):
            if not isinstance(n, ast.Attribute) or not n.attr.startswith("_") or n.attr.endswith("__"):
                continue
            own = n.attr in defined or ast.unparse(n.value) in ("self", "cls")
            if not own and ast.unparse(n) not in WITHOUT_ROW and n.attr not in known:
                found.add(f"{name}: {ast.unparse(n)}")
    assert not found


def test_rosbags_is_imported_from_what_it_exports():
    found = set()
    for name, tree in ours():
        branches = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        for_types = {n for branch in branches for n in branch.body}
        for n in ast.walk(tree):
            if isinstance(n, ast.ImportFrom) and n not in for_types and f"{n.module}.".startswith("rosbags."):
                names = {alias.name for alias in n.names}
                exported = getattr(import_module(str(n.module)), "__all__", names)
                if str(n.module).count(".") > 1 or not names <= set(exported):
                    found.add(f"{name}: {ast.unparse(n)}")
    assert not found
