"""A transformers that does not exist yet, whose language model has other argument names: what is said, and where."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
ALONE = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
}
FUTURE = """
import importlib.metadata
from inspect import signature
import transformers
from transformers import Qwen2_5_VLTextModel

known = importlib.metadata.version
importlib.metadata.version = lambda name: "7.1.0" if name == "transformers" else known(name)
transformers.__version__ = "7.1.0"
own = Qwen2_5_VLTextModel.forward
CACHE = "cache" if "cache" in signature(own).parameters else "past_key_values"

def forward(self, *, embeddings=None, places=None, mask=None, memory=None, use_cache=None):
    given = {"inputs_embeds": embeddings, "position_ids": places, "attention_mask": mask, CACHE: memory}
    return own(self, use_cache=use_cache, **given)

Qwen2_5_VLTextModel.forward = forward
"""
LOADING = """
import json, sys
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.answering.engine import load_engine
try:
    load_engine(sys.argv[1], device="cpu")
except SpatialError as error:
    print(json.dumps([int(error.code), error.message]))
"""
CHECKING = """
import json
import os
from pathlib import Path
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


def run(code: str, *arguments: str) -> list | dict:
    command = [sys.executable, "-c", FUTURE + code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_model_says_so_while_it_loads(tiny):
    code, text = run(LOADING, str(tiny))
    assert code == 8, text
    assert text.startswith("the model does not run here (") and "unexpected keyword argument" in text
    assert "transformers 7.1.0 is outside of what was tested" in text and "pip install 'transformers<" in text


def test_the_rows_that_broke_say_so():
    broken = run(CHECKING)
    assert broken and all(kind in ("TypeError", "AssertionError", "KeyError") for kind in broken.values())
    assert [name for name in broken if "Qwen2_5_VLTextModel takes embeddings, positions" in name]
    assert [name for name in broken if "generate begins from embeddings" in name]
    assert not [name for name in broken if "2D encoder" in name or "VisionTransformer" in name or "tied" in name]


def test_a_version_that_is_only_new_is_named_and_runs(tiny):
    """Nothing but the version differs: the node's log has a warning, and the model answers."""
    only_newer = FUTURE.partition("\nown = ")[0]
    code = LOADING + "\nfrom spatial_mllm_ros.versions import outside\nprint(json.dumps(outside()))"
    command = [sys.executable, "-c", only_newer + code, str(tiny)]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout.splitlines()[-1])
    assert said.startswith("transformers 7.1.0 is outside") and len(done.stdout.splitlines()) == 1
