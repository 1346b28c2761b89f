"""A transformers that does not exist yet, whose language model has other argument names: what is said, and where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(360)  # a process that imports everything, on machines that others use, too
ROOT = Path(__file__).parents[3]
ALONE = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
}
IN_THE_FUTURE = """
import importlib.metadata, json, os, sys
from inspect import signature
from pathlib import Path
import transformers
from transformers import Qwen2_5_VLTextModel

known = importlib.metadata.version
importlib.metadata.version = lambda name: "7.1.0" if name == "transformers" else known(name)
transformers.__version__ = "7.1.0"
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.versions import outside

load_engine(sys.argv[1], device="cpu")  # nothing but the version differs
print(json.dumps(outside()))

own = Qwen2_5_VLTextModel.forward
CACHE = "cache" if "cache" in signature(own).parameters else "past_key_values"

def forward(self, *, embeddings=None, places=None, mask=None, memory=None, use_cache=None):
    given = {"inputs_embeds": embeddings, "position_ids": places, "attention_mask": mask, CACHE: memory}
    return own(self, use_cache=use_cache, **given)

Qwen2_5_VLTextModel.forward = forward
try:
    load_engine(sys.argv[1], device="cpu")
except SpatialError as error:
    print(json.dumps([int(error.code), error.message]))

from tests.build.internals import model
broken = {}
for row in model.ROWS:
    try:
        if row.library == "transformers" and "processor" not in row.file:
            row.check(Path("/nowhere"))
    except Exception as error:
        broken[str(row)] = type(error).__name__
print(json.dumps(broken))
"""


@pytest.fixture(scope="module")
def said(tiny) -> list:
    """What is outside of what was tested, how loading ends with other argument names, and which rows break."""
    command = [sys.executable, "-c", IN_THE_FUTURE, str(tiny)]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_version_that_is_only_new_is_named_and_runs(said):
    (warning,) = said[0]
    assert warning.startswith("transformers 7.1.0 is outside") and len(said) == 3


def test_the_model_says_so_while_it_loads(said):
    code, text = said[1]
    assert code == 8, text
    assert text.startswith("the model does not run here (") and "unexpected keyword argument" in text
    assert "transformers 7.1.0 is outside of what was tested" in text and "pip install 'transformers<" in text


def test_the_rows_that_broke_say_so(said):
    broken = said[2]
    assert broken and all(kind in ("TypeError", "AssertionError", "KeyError") for kind in broken.values())
    assert [name for name in broken if "Qwen2_5_VLTextModel takes embeddings, positions" in name]
    assert [name for name in broken if "generate begins from embeddings" in name]
    assert not [name for name in broken if "2D encoder" in name or "VisionTransformer" in name or "tied" in name]
