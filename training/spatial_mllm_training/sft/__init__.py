"""Supervised fine-tuning: records with answers in, a Spatial-MLLM or an adapter out."""
