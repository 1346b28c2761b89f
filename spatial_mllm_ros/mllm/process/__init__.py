"""The model in a process of its own, and the client to it."""
