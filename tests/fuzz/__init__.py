"""Inputs that somebody has changed: every reader says in words, in bounded time and memory, what is wrong with them."""
