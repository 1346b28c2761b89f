"""From recordings to spatial questions, and from answers to published figures."""
