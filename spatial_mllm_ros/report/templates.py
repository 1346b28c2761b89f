"""Templates of HTML pages that look alike: they may include the style sheet and the parts in this folder."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, Template

HERE = "spatial_mllm_ros.report"


def template(name: str, package: str = HERE) -> Template:
    """A template of a package, which may include those of this folder. Values are escaped."""
    environment = Environment(loader=FunctionLoader(read), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(read(name, package))


def read(name: str, package: str = HERE) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
