"""A run that is stopped right after a checkpoint, as by a kill."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spatial_mllm_training.runs.callbacks import Checkpoints


@contextmanager
def stopped_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Around a run that ends with the checkpoint of this step, or of the first one after it."""
    save = Checkpoints.on_save

    def stop(self, args, state, control, **kwargs):
        save(self, args, state, control, **kwargs)
        if state.global_step >= step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "on_save", stop)
        yield
    gc.collect()  # and with it the lock of that run
