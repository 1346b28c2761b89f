"""What loads an engine on this machine: torch, or without it exported encoders alone, which give geometry."""

from .weights.shipped import can_run

if can_run():
    from .answering.engine import load_engine
else:
    from .encoders.alone import load_engine

__all__ = ["load_engine"]
