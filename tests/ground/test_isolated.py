"""What is started imports nothing from where the user stands, and gets no more of the environment than it needs."""

import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from spatial_mllm_ros import isolated
from spatial_mllm_ros.mllm.process.child import Child, its_environment

ROOT = Path(__file__).parents[2]
NAMES = (
    "torch",
    "rclpy",
    "numpy",
    "cv2",
    "pickle",
    "multiprocessing",
    "runpy",
    "json",
    "transformers",
    "usercustomize",
)
WRITES = "import pathlib; pathlib.Path({mark!r}).touch(); raise ImportError('not this one')\n"
COMMAND = """
from spatial_mllm_ros.executables import command
if __name__ == "__main__":
    command()
"""
SPAWNS = """
from concurrent.futures import ProcessPoolExecutor
import spatial_mllm_ros.isolated as i
i.SAFE = {safe}
if __name__ == "__main__":
    with ProcessPoolExecutor(1, i.spawning()) as pool:
        print(pool.submit(abs, -3).result())
"""


@pytest.fixture
def trap(tmp_path):
    """A folder with modules that leave a mark when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(WRITES.format(mark=str(tmp_path / f"ran-{name}")))
    yield folder
    assert [p.name for p in tmp_path.glob("ran-*")] == []


@pytest.fixture(params=[isolated.SAFE, []], ids=["this", "3.10"])
def safe(request, monkeypatch):
    monkeypatch.setattr(isolated, "SAFE", request.param)


def test_a_piece_of_python(trap, safe):
    command = isolated.run_code("import numpy, json, sys; print(numpy.__name__, sys.path)")
    done = subprocess.run(command, cwd=trap, env=isolated.environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("numpy") and str(trap) not in done.stdout


def test_the_package_is_the_same_one(trap, safe):
    command = isolated.run_code("import spatial_mllm_ros; print(spatial_mllm_ros.__file__)")
    env = {name: value for name, value in isolated.environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=trap, env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parents[1] == ROOT


def test_the_models_process(trap, safe, monkeypatch):
    """It imports what its engine needs, and says that the model is none."""
    (trap / "load").write_text("refuse")
    monkeypatch.chdir(trap)
    heard = SimpleQueue()
    log = SimpleNamespace(debug=lambda text: None, error=lambda text: None)
    options = {"path": str(trap), "max_tokens": 1}
    child = Child("tests.mllm.process.engines:Engine", options, log, lambda child, message: heard.put(message))
    child.load()
    try:
        message = heard.get(timeout=100)
        while message.kind == "loading":
            message = heard.get(timeout=100)
    finally:
        child.close()
    assert message.kind == "failed" and "lacks tensors" in message.values[1], message


def run_script(folder, cwd, text, *arguments):
    """A script that lies elsewhere, as pip installs commands: its folder is looked into, not the current one."""
    start = folder / "start.py"
    start.write_text(text)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'training'}"}
    return subprocess.run([sys.executable, str(start), *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def test_doctor(trap, tmp_path):
    done = run_script(tmp_path, trap, COMMAND, "doctor")
    assert done.returncode == 0, done.stderr


def test_annotate_and_ask(trap, tmp_path, simulated_bag):
    pytest.importorskip("torch", reason="questions need torch")
    rewards = tmp_path / "rewards.mcap"
    done = run_script(tmp_path, trap, COMMAND, "annotate", str(simulated_bag), "--out", str(rewards))
    assert done.returncode == 0 and rewards.stat().st_size > 0, done.stderr
    asked = (
        "ask",
        str(simulated_bag),
        "How far is the table?",
        "--model",
        "nano",
        "--max-tokens",
        "4",
        "--frames",
        "2",
    )
    done = run_script(tmp_path, trap, COMMAND, *asked)
    assert done.returncode in (0, 3, 4), done.stderr  # answered, not observed, unsure


@pytest.mark.parametrize("safe", ["i.SAFE", "[]"], ids=["this", "3.10"])
def test_pools(trap, tmp_path, safe):
    done = run_script(tmp_path, trap, SPAWNS.format(safe=safe))
    assert done.stdout == "3\n", done.stderr


def test_empty_entries_are_the_current_folder(trap, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f":{ROOT}::")
    monkeypatch.setenv("LD_LIBRARY_PATH", ":")
    env = isolated.environment()
    assert env["PYTHONPATH"] == str(ROOT) and "LD_LIBRARY_PATH" not in env
    done = subprocess.run(isolated.run_code("import numpy"), cwd=trap, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_models_process_knows(monkeypatch, tmp_path):
    given = {
        **{"HF_HOME": "/h", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "3", "https_proxy": "p", "LC_ALL": "C"},
        **{"HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "g", "SSH_AUTH_SOCK": "a", "MINE": "m"},
        **{"WANDB_API_KEY": "w", "TORCH_SECRET": "x", "TOKENIZERS_PARALLELISM": "true"},
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    known = its_environment({"path": str(tmp_path), "adapter": ""})
    assert {name for name in given if name in known} == {
        *("HF_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "https_proxy", "LC_ALL", "TOKENIZERS_PARALLELISM")
    }
    assert its_environment({"path": "owner/name"})["HF_TOKEN"] == "t"
    assert its_environment({"path": str(tmp_path), "adapter": "owner/name"})["HF_TOKEN"] == "t"
    assert "GITHUB_TOKEN" not in its_environment({"path": "owner/name"})
