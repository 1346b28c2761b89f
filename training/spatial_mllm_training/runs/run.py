"""A run from its newest checkpoint to its end: one way for every trainer."""

from pathlib import Path

from peft import PeftModel
from transformers import PrinterCallback, Trainer

from spatial_mllm_ros.cli.terminal import note
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration

from .callbacks import is_main, release
from .folder import RunFolder
from .saving import save_trained

Model = SpatialMLLMForConditionalGeneration | PeftModel


def run(trainer: Trainer, folder: RunFolder, base: str, model: Model | None = None, adapter: str = "") -> Path:
    """Trains from the newest whole checkpoint on, writes what was trained, and evaluates.

    Args:
        base: folder or hub id of the model that it began with.
        model: what is written; None: what the trainer trains.
        adapter: that was merged into that model before.
    """
    trainer.remove_callback(PrinterCallback)  # it prints every log as a dictionary; the progress line tells it
    newest = folder.newest()
    if newest and is_main():
        note(f"going on from {newest.name}")
    try:
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
        if is_main():
            trained = trainer.accelerator.unwrap_model(trainer.model_wrapped) if model is None else model
            save_trained(trained, base, folder.path, state, adapter)  # type: ignore[arg-type]
        measured = [row["step"] for row in trainer.state.log_history if "eval_loss" in row]
        if trainer.state.global_step not in measured:
            trainer.evaluate()
    except BaseException as error:
        if is_main():
            folder.state("stopped", why=str(error) or type(error).__name__, steps=trainer.state.global_step)
        raise
    finally:
        release(trainer)
    if is_main():
        folder.state("finished", why="", steps=trainer.state.global_step)
    trainer.accelerator.wait_for_everyone()
    return folder.trained
