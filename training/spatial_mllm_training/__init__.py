"""From recordings to spatial questions, and from answers to published figures."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # what is trained here is nobody else's concern
