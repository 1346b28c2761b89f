"""Scenes encoded once, questions answered on them."""
