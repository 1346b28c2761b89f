"""The processes that models run in: one, or two where geometry has a model of its own."""

from dataclasses import replace
from typing import Any

from ..config import Config
from ..mllm.process.remote import ModelProcess
from ..mllm.weights.shipped import chosen


class Models:
    """Starts to load what the parameters name.

    Attributes:
        answers: answers questions; ``off`` where there is no model.
        geometry: sees windows of frames; None where coverage is from depth only, or no model is named.
    """

    def __init__(self, config: Config, log: Any, engine: str):
        self.answers = ModelProcess(config.ask, log, engine)
        self.geometry: ModelProcess | None = None
        name = config.geometry_model
        if name and config.coverage.source != "depth":
            bare = config.vggt.model and config.ask.adapter  # a model that is named for geometry has no adapter
            same = chosen(name, config.ask.encoders) == self.answers.model and not bare
            own = replace(config.ask, model=name, adapter="")
            self.geometry = self.answers if same else ModelProcess(own, log, engine)
        for model in self._all():
            model.start()

    def _all(self) -> set[ModelProcess]:
        return {model for model in (self.answers, self.geometry) if model is not None}

    def close(self) -> None:
        for model in self._all():
            model.close()
