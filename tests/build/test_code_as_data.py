"""What others could have written is never unpickled: by name, over everything that is installed or run."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRIVATE = (
    ROOT / "spatial_mllm_ros" / "mllm" / "process" / "protocol.py"
)  # between a process and its child, see SECURITY
SOURCES = [p for part in ("spatial_mllm_ros", "training", "tools", "launch") for p in (ROOT / part).rglob("*.py")]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}


def odd(tree: ast.Module) -> list[str]:
    """What unpickles, or builds objects by name, in a module."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            called = ast.unparse(node.func)
            if given.get("allow_pickle", "False") != "False":
                found.append(called)
            if called in ("torch.load", "torch.serialization.load") and given.get("weights_only") != "True":
                found.append(called)
            if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and "Loader" not in map(
                ast.unparse, node.args[1:]
            ):
                found.append(called)
            if called in ("eval", "exec"):
                found.append(called)
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if p != PRIVATE], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    assert odd(ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[-2] != "tools"], ids=lambda p: str(p.relative_to(ROOT)))
def test_python_is_started_isolated(path):
    """Only ``isolated.py`` knows how; see tests/ground/test_isolated.py."""
    text = path.read_text("utf-8")
    assert path.name == "isolated.py" or not any(
        word in text for word in ("get_context", "sys.executable", "os.system")
    )


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load(x)",
        "np.load(x, allow_pickle=True)",
        "yaml.load(x)",
        "yaml.unsafe_load(x)",
        "eval(x)",
    ],
)
def test_the_search_finds_them(text):
    assert odd(ast.parse(text))
