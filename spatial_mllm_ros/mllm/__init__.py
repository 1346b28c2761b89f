"""The model: encoders, language model, answers. Only this folder imports torch, and only when a model is loaded."""

from typing import TYPE_CHECKING, Any

from .question import Answer, AnswerType, Question, Verdict

if TYPE_CHECKING:
    from .families.spatial_mllm.loading import load_model

__all__ = ["Answer", "AnswerType", "Question", "Verdict", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from .families.spatial_mllm.loading import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
