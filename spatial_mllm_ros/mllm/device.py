"""Where the model runs and in which number format, where the caller leaves that open."""

import torch


def choose(device: str, dtype: str) -> tuple[str, str]:
    """``auto`` made concrete: the first GPU where there is one, bfloat16 there and float32 elsewhere.

    Other names pass as they are; loading says which are unknown.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return device, dtype
