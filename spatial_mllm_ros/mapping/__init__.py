"""Geometry from colour alone: windows of frames through a model, aligned to one map."""
