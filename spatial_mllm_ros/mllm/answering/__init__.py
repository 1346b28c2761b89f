"""Clips encoded once, questions answered on them."""
