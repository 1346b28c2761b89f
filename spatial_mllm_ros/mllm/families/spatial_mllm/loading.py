"""From a model folder to a Spatial-MLLM that answers."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from ....errors import ErrorCode
from ...weights.files import (
    PICKLED,
    Entry,
    ModelError,
    Progress,
    fill,
    find_folder,
    listing,
    one_line,
    parse_device,
    parse_dtype,
    read_config,
    read_entries,
    show,
)
from .config import ARCHITECTURE, SpatialMLLMConfig
from .model import SpatialMLLMForConditionalGeneration
from .parts import PARTS
from .processor import SpatialMLLMProcessor

HIGHEST_RANK = 4096  # of an adapter
PEFT_HEAD = "base_model.model."  # of the names in an adapter
LORA = (
    *("r", "lora_alpha", "bias", "fan_in_fan_out", "use_rslora", "use_dora", "modules_to_save", "rank_pattern"),
    *("alpha_pattern", "lora_bias"),
)
"""Fields of an adapter's configuration that decide what its weights do."""
LORA_UNUSED = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("auto_mapping", "lora_dropout", "init_lora_weights", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "megatron_core", "runtime_config"),
)
"""Those that are for training, or told by the weights."""
PLAIN_NAME = re.compile(r"[\w.]{1,200}")

# Names in released checkpoints and in modules; the latter are also what current transformers writes.
RELEASED = {
    "visual.": "model.visual.",
    "model.": "model.language_model.",
    "spatial_encoder.": "model.spatial_encoder.",
    "connector.": "model.connector.",
}
TRACK_HEAD = "model.spatial_encoder.vggt_model.track_head."
"""Tensors that are in checkpoints but not in the model: nothing here follows points with VGGT."""


def load_model(
    path: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    adapter: str | Path = "",
    progress: Progress | None = None,
    without: Collection[str] = (),
) -> tuple[SpatialMLLMForConditionalGeneration, SpatialMLLMProcessor | None]:
    """Loads a Spatial-MLLM, ready to answer (not training).

    Args:
        path: folder or hub id; safetensors, in one file or in shards, with the names of the released checkpoints or of
            current transformers.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``float32``, ``bfloat16`` or ``float16``; the heads of the VGGT stay float32.
        adapter: folder or hub id of a PEFT adapter, merged into the weights; empty: none.
        progress: is told the part of the weights that has been read, 0..1.
        without: submodules of ``model.model`` that something else takes the place of: their weights are not read.
    Returns:
        The model, and its processor; None where the folder holds no tokenizer.
    Raises:
        ModelError: what is wrong with the folder, the device or the dtype; BAD_REQUEST where another argument helps.
    """
    where, number = parse_device(device), parse_dtype(dtype)
    folder = find_folder(path)
    config = read_sizes(folder)
    with blame(f"{show(folder)}: config.json"):
        model = empty_model(config, number)
    entries = module_entries(read_entries(folder), model.config)
    for name in without:
        model.model.set_submodule(name, nn.Module())
        entries = {key: entry for key, entry in entries.items() if not key.startswith(f"model.{name}.")}
    fill(model, entries, where, path, progress)
    model.tie_weights()
    nn.Module.to(model, where)
    if adapter:
        model = add_adapter(model, adapter)
    if (folder / "generation_config.json").is_file():
        model.generation_config = read_generation(folder, model.config)
    return model.eval(), load_processor(folder, model.config)


def read_sizes(folder: Path) -> SpatialMLLMConfig:
    """The configuration of a Spatial-MLLM. Raises ModelError: another model, or sizes that cannot be."""
    config = read_config(folder)
    named = config.get("architectures") or config.get("model_type")
    kinds = named if isinstance(named, list) else [named]
    if ARCHITECTURE not in kinds and config.get("model_type") != SpatialMLLMConfig.model_type:
        holds = kinds[0] or "no known model"
        raise ModelError(f"{show(folder)}: holds {holds}: expected {ARCHITECTURE}", ErrorCode.BAD_REQUEST)
    with blame(f"{show(folder)}: config.json"):
        return SpatialMLLMConfig.from_dict(config)


def load_part(folder: Path, name: str) -> nn.Module:
    """One of ``PARTS`` alone, float32 on the CPU, ready for inference. Raises ModelError as ``load_model``."""
    model, prefix = empty_model(read_sizes(folder)), f"{PARTS[name]}."
    entries = module_entries(read_entries(folder), model.config)
    inside = {key.removeprefix(prefix): entry for key, entry in entries.items() if key.startswith(prefix)}
    part = model.get_submodule(PARTS[name])
    fill(part, inside, parse_device("cpu"), folder)
    return part.eval().requires_grad_(False)


@contextmanager
def blame(what: str) -> Iterator[None]:
    """Turns whatever a library raises about a file into a ModelError of one short line that names it."""
    try:
        yield
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f"{what}: {error} is unknown or missing") from None
    except Exception as error:  # transformers and PEFT raise many kinds
        raise ModelError(f"{what}: {one_line(error)}") from None


def empty_model(config: SpatialMLLMConfig, dtype: torch.dtype = torch.float32) -> SpatialMLLMForConditionalGeneration:
    """The model on the meta device, its parameters in their final dtype; takes no memory. ``fill`` comes next."""
    with torch.device("meta"):
        model = SpatialMLLMForConditionalGeneration(config)
    nn.Module.to(model, dtype)
    model.tie_weights()
    for part in (model.model.language_model, model.model.visual):
        make_buffers(part)
    return model


def make_buffers(part: PreTrainedModel) -> None:
    """Makes anew what is computed rather than stored, in float32: rotary frequencies, whose modules take a config.

    Raises:
        ModelError: this version of transformers computes something else, too.
    """
    for name, child in part.named_children():
        if any(buffer.is_meta for buffer in child.buffers()):
            setattr(part, name, type(child)(part.config))  # pyright: ignore[reportCallIssue]
    if left := [name for name, buffer in part.named_buffers() if buffer.is_meta]:
        raise ModelError(f"transformers {transformers.__version__} computes {listing(left)}, which is not known here")


def module_name(name: str) -> str:
    """The name in the model of a tensor in a checkpoint, released or saved by current transformers."""
    if re.match(r"model\.(visual|language_model|spatial_encoder|connector)\.", name):
        return name
    prefix = name.split(".")[0] + "."
    return RELEASED.get(prefix, prefix) + name.removeprefix(prefix)


def released_name(name: str) -> str:
    """The name in a released checkpoint of a parameter of the model."""
    for released, prefix in RELEASED.items():
        if name.startswith(prefix):
            return released + name.removeprefix(prefix)
    return name


def module_entries(entries: dict[str, Entry], config: SpatialMLLMConfig) -> dict[str, Entry]:
    """The tensors of a checkpoint by their names in the model, without the track head and a tied output layer."""
    named: dict[str, Entry] = {}
    for name, entry in entries.items():
        if (twin := named.setdefault(module_name(name), entry)) is not entry:
            raise ModelError(f"{entry.file.name}: {twin.name} and {name} are the same tensor: expected one of them")
    if config.tie_word_embeddings:
        named.pop("lm_head.weight", None)
    return {name: entry for name, entry in named.items() if not name.startswith(TRACK_HEAD)}


def read_generation(folder: Path, config: SpatialMLLMConfig) -> GenerationConfig:
    """Where answers end: ``generation_config.json``, ``config.json`` where that is silent.

    How ``generate`` writes is for who calls it to say; what else the file has could take for ever, or load something.

    Raises:
        ModelError: no tokens of the vocabulary.
    """
    name = "generation_config.json"
    ends = {key: getattr(config.text, key, None) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    said: dict[str, Any] = read_config(folder, name)
    values: dict[str, Any] = {key: known if said.get(key) is None else said[key] for key, known in ends.items()}
    for key in ends:
        ids: list[Any] = values[key] if isinstance(values[key], list) else [values[key]]
        if not all(i is None or (type(i) is int and 0 <= i < config.text.vocab_size) for i in ids):
            raise ModelError(f"{show(folder)}: {name}: {key} = {values[key]!r}: expected a token of the vocabulary")
    with blame(f"{show(folder)}: {name}"):
        return GenerationConfig.from_dict({**values, "do_sample": False})


def lora_config(values: dict[str, Any], weights: Mapping[str, Any]) -> LoraConfig:
    """How an adapter's weights are put on the model: of its configuration what says that, and nothing else.

    A configuration can name modules to import, models to ask the hub for, and patterns that are matched for ever. Where
    the weights go is told by their names.

    Raises:
        ValueError: another kind of adapter than LoRA, or one of which the weights alone are not the whole.
    """
    if values.get("peft_type") != "LORA":
        raise ValueError(f"peft_type {str(values.get('peft_type'))[:40]}: expected LORA")
    plain = {f.name: f.default for f in fields(LoraConfig) if f.name not in (*LORA, *LORA_UNUSED)}
    if odd := [name for name, default in plain.items() if values.get(name) and values[name] != default]:
        raise ValueError(f"{listing(odd)}: expected a LoRA with {', '.join(LORA)} alone")
    kept = {name: values[name] for name in LORA if values.get(name) is not None}
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = kept.get(name, {})
        if not isinstance(pattern, dict) or not all(PLAIN_NAME.fullmatch(key) for key in pattern):
            raise ValueError(f"{name}: expected names of modules and a number for each")
    named = [module_name(name.removeprefix(PEFT_HEAD)) for name in weights if ".lora_A." in name]
    targets = sorted({name.partition(".lora_A.")[0] for name in named})
    return LoraConfig(**kept, target_modules=targets, inference_mode=True)


def load_processor(folder: Path, config: SpatialMLLMConfig) -> SpatialMLLMProcessor | None:
    """The processor of a model folder; None where there is no tokenizer.

    Raises:
        ModelError: it cannot be read, or its tokens are not the model's.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return None
    processor = SpatialMLLMProcessor.from_pretrained(folder)
    for name in ("image_token_id", "video_token_id"):
        if (ours := getattr(processor, name)) != (theirs := getattr(config, name)):
            raise ModelError(f"{show(folder)}: {name} is {theirs} in config.json, {ours} in the tokenizer")
    if (count := len(processor.tokenizer)) > config.text.vocab_size:
        raise ModelError(f"{show(folder)}: {count} tokens in the tokenizer, {config.text.vocab_size} in config.json")
    return processor


def add_adapter(model: SpatialMLLMForConditionalGeneration, adapter: str | Path) -> SpatialMLLMForConditionalGeneration:
    """Merges a PEFT adapter into the model.

    Raises:
        ModelError: no adapter, a pickled one, or one that does not fit the model.
    """
    folder = find_folder(adapter, "adapter")
    if not (folder / "adapter_model.safetensors").is_file():
        pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern))
        why = f"{pickled[0]} is pickled and could run code when opened: save it as" if pickled else "no"
        raise ModelError(f"adapter {show(adapter)}: {why} adapter_model.safetensors")
    rank = read_config(folder, "adapter_config.json").get("r")
    if isinstance(rank, int) and rank > HIGHEST_RANK:
        raise ModelError(f"adapter {show(adapter)}: r = {rank}: expected at most {HIGHEST_RANK}")
    with blame(f"adapter {show(adapter)}"):
        weights = load_file(folder / "adapter_model.safetensors")
        settings = lora_config(read_config(folder, "adapter_config.json"), weights)
        wrapped = PeftModel(model, settings)
        expected = get_peft_model_state_dict(wrapped)
        named = {PEFT_HEAD + module_name(name.removeprefix(PEFT_HEAD)): value for name, value in weights.items()}
        if odd := sorted(expected.keys() ^ named.keys()):
            raise ModelError(f"adapter {show(adapter)}: does not fit the model: {listing(odd)}")
        set_peft_model_state_dict(wrapped, named)
        return wrapped.merge_and_unload(safe_merge=True)
