"""Group relative policy optimisation (Shao et al., "DeepSeekMath", 2024, section 4.1) of a Spatial-MLLM."""
