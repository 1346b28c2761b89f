from . import app

app(prog_name="spatial-mllm-training")
