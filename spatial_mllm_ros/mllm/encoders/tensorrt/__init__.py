"""Exported encoders run by TensorRT, 10.3 to 11: engines are built on the machine that runs them. Needs no torch."""
