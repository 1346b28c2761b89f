"""The parts of a Spatial-MLLM by name. Needs no torch."""

PARTS = {
    "connector": "model.connector",
    "language_model": "model.language_model",
    "visual": "model.visual",
    "spatial_encoder": "model.spatial_encoder.vggt_model.aggregator",
}
"""What learns or is compiled -> the module. The heads of VGGT are no part of answers."""


def part_of(name: str) -> str:
    """The part that a parameter belongs to, in the model or within PEFT's; ``lora`` for an adapter, or empty."""
    if "lora_" in name:
        return "lora"
    inside = f".{name}".replace(".base_model.model.", ".")
    return next((part for part, module in PARTS.items() if f"{module}." in inside), "")
