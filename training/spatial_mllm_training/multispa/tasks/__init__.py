"""Tasks: each module proposes the questions that a scene allows."""
