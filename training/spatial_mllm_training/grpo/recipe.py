"""The recipes of a GRPO run and of its cold start."""

from dataclasses import dataclass
from pathlib import Path

from spatial_mllm_ros.config import param

from ..runs.parts import ModelRecipe
from ..runs.recipe import RecipeError, entries
from ..sft.dataset import DataEntry
from .rewards import RewardRecipe

LEARNS = ("connector", "language_model")


@dataclass(frozen=True)
class GrpoRecipe(RewardRecipe, ModelRecipe):
    """Group relative policy optimisation; the names of the symbols are DeepSeekMath's (Shao et al. 2024, eq. 3 and 4).

    ``batch`` counts completions: one step asks batch x accumulate x processes / group questions.
    """

    data: tuple[DataEntry, ...] = entries(DataEntry, "data sets that are asked about")
    max_frames: int = param(16, "frames of a clip or video, evenly spread", low=1, high=256)
    group: int = param(8, "completions sampled of each question (G)", low=2, high=1024)
    beta: float = param(0.04, "weight of the KL divergence to the model it begins with", low=0.0, high=100.0)
    clip: float = param(0.2, "ratios of probabilities count within 1 - clip and 1 + clip (epsilon)", low=0.0, high=1.0)
    iterations: int = param(1, "times that completions are learned from (mu)", low=1, high=100)

    def __post_init__(self):
        super().__post_init__()
        if odd := set(self.train) - set(LEARNS):
            raise RecipeError(f"train: encoders stay frozen, not {min(odd)}: expected {', '.join(LEARNS)}")
        if self.evaluate_every:
            raise RecipeError(f"evaluate_every = {self.evaluate_every}: the rewards are the curve: expected 0")
        if self.checkpoint_every % self.iterations:
            text = f"checkpoint_every = {self.checkpoint_every}: completions are used {self.iterations} times"
            raise RecipeError(f"{text}, and a run goes on between them: expected a multiple of iterations")
        if self.workers:
            raise RecipeError(f"workers = {self.workers}: a policy is shown clips as it asks for them: expected 0")
        if self.lora_dropout:
            raise RecipeError(f"lora_dropout = {self.lora_dropout}: sampling and learning would differ: expected 0")
        for i, entry in enumerate(self.data):
            if not entry.path or not Path(entry.path).expanduser().exists():
                raise RecipeError(f"data[{i}].path = {entry.path!r}: expected a folder or file that is there")
            if entry.shown_as == "written":
                raise RecipeError(f"data[{i}].shown_as = 'written': the policy is shown clips: expected 'clip'")
        if not any((self.weight_answer, self.weight_form * self.reasoning, self.weight_refusal, self.weight_length)):
            raise RecipeError("all weights of rewards are 0: expected one above")


@dataclass(frozen=True)
class ColdStartRecipe(RewardRecipe):
    """Which traces are sampled; ``reasoning`` has to be on."""

    model: str = param("", "folder or hub id of a model that thinks when it is asked to")
    adapter: str = param("", "folder or hub id of a PEFT adapter; empty: none")
    data: tuple[DataEntry, ...] = entries(DataEntry, "what is asked, every record once")
    traces: int = param(8, "sampled of each question", low=1, high=1024)
    max_frames: int = param(16, "of a clip", low=1, high=4096)
    seed: int = param(0, "of sampling", low=0, high=2**31 - 1)
    device: str = param("auto", "auto (the GPU where there is one) or cpu", choices=("auto", "cpu"))
    dtype: str = param("auto", "auto: bfloat16 on a GPU, else float32", choices=("auto", "float32", "bfloat16"))

    def __post_init__(self):
        if not self.reasoning:
            raise RecipeError("reasoning = false: a cold start keeps thoughts: expected true")
        if not self.model:
            raise RecipeError("model = '': expected the folder or hub id of a model that thinks")
