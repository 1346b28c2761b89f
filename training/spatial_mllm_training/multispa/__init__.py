"""Multi-frame spatial questions with exact answers from posed recordings (Xu et al., "Multi-SpatialMLLM", 2025)."""
