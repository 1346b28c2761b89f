"""Writes what is said in one place and shown in others: ``python tools/describe_interface.py``.

From config.py and msg/ it makes config/rgbd.yaml and the generated parts of docs/ros-api.md, from mllm/published.py the
table of models/README.md. Tests check that all are up to date.
"""

import re
from pathlib import Path
from typing import Any

from spatial_mllm_ros.config import Config, node_parameters
from spatial_mllm_ros.mllm.weights.published import PUBLISHED

ROOT = Path(__file__).parents[1]
YAML, PAGE, MODELS = ROOT / "config/rgbd.yaml", ROOT / "docs/ros-api.md", ROOT / "models/README.md"
YAML_HEAD = """\
# RGB-D sensor, poses from /tf. This file is the manual: every parameter with its
# meaning, [unit], range and default. Made from spatial_mllm_ros/config.py by tools/describe_interface.py.
# Parameters take effect with configure; those marked "live" at once.
/**/spatial_mllm:
  ros__parameters:
"""
TYPES = {bool: "bool", int: "integer", float: "double", str: "string", list: "string_array"}
FIELD = re.compile(r"(?P<type>[\w/]+(\[\])?)\s+(?P<name>\w+)(=(?P<value>\S+))?\s*(#\s*(?P<text>.*))?")


def yaml_text() -> str:
    """config/rgbd.yaml: a node with one camera and every default."""
    lines = [YAML_HEAD.rstrip()]
    group = ""
    for name, p in node_parameters(Config().cameras).items():
        prefix, _, leaf = name.rpartition(".")
        if prefix != group:
            group = prefix
            lines += ["", f"    {group}:"]
        indent = "      " if group else "    "
        lines += [f"{indent}# {comment(p)}", f"{indent}{leaf}: {literal(p['default'])}"]
    return "\n".join(lines) + "\n"


def comment(p: dict[str, Any]) -> str:
    unit = f" [{p['unit']}]" if p["unit"] else ""
    live = "; live" if p["live"] else ""
    values = ("one of " if p["choices"] else "") + (f"{allowed(p)}; " if allowed(p) else "")
    return f"{p['doc']}{unit}; {values}default {literal(p['default'])}{live}"


def allowed(p: dict[str, Any]) -> str:
    return ", ".join(p["choices"]) or ("" if p["low"] is None else f"{p['low']} to {p['high']}")


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(value) + "]"
    return f'"{value}"' if value == "" else str(value)


def parameter_table() -> str:
    """Every parameter, those of a camera as <camera>.<name>."""
    rows = ["| parameter | type | unit | range | default | live | meaning |", "|---|---|---|---|---|---|---|"]
    for name, p in node_parameters(["<camera>"]).items():
        kind, live = TYPES[p["type"]], "yes" if p["live"] else ""
        rows.append(
            f"| `{name}` | {kind} | {p['unit']} | {allowed(p)} | `{literal(p['default'])}` | {live} | {p['doc']} |"
        )
    return "\n".join(rows)


def interface(path: Path) -> str:
    """One .msg, .srv or .action file as tables of its fields."""
    names = {".msg": [""], ".srv": ["Request", "Response"], ".action": ["Goal", "Result", "Feedback"]}[path.suffix]
    parts = [f"### {path.name}"]
    for name, section in zip(names, path.read_text("utf-8").split("\n---\n"), strict=True):
        about, rows = read_fields(section)
        parts += [f"**{name}**"] if name else []
        parts += [about] if about else []
        parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *rows]) if rows else "No fields.")
    return "\n\n".join(parts)


def read_fields(section: str) -> tuple[str, list[str]]:
    """The comment at the top, and a table row for each field and constant."""
    top = section.strip().partition("\n\n")[0].splitlines()
    about = [line.lstrip("# ") for line in top] if all(line.startswith("#") for line in top) else []
    rows: list[list[str]] = []
    for line in section.splitlines():
        if (more := re.fullmatch(r"\s+#\s*(.*)", line)) and rows:
            rows[-1][2] += " " + more[1]
        elif found := FIELD.fullmatch(line.strip()):
            name = f"{found['name']} = {found['value']}" if found["value"] else found["name"]
            rows.append([name, found["type"], found["text"] or ""])
    return " ".join(about), [f"| `{name}` | {type_} | {text} |" for name, type_, text in rows]


def interfaces() -> str:
    folder = ROOT / "msg"
    paths = [p for kind in ("msg", "srv", "action") for p in sorted((folder / kind).glob(f"*.{kind}"))]
    return "\n\n".join(interface(p) for p in paths)


def checkpoint_table() -> str:
    """The published checkpoints, with sizes in GB as bfloat16 and as float32."""
    names = ("hub id", "gives", "parameters", "weights, GB", "memory, GB", "licence", "commercial use")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for c in PUBLISHED:
        weights, needed = (f"{size('bfloat16'):.1f} / {size('float32'):.1f}" for size in (c.weights, c.needed))
        count, use = f"{c.parameters / 1e9:.2f} billion", "yes" if c.commercial else "no"
        lines.append("| " + " | ".join((f"`{c.source}`", c.what, count, weights, needed, c.licence, use)) + " |")
    return "\n".join(lines)


def page_text(page: str) -> str:
    """docs/ros-api.md with its generated parts replaced."""
    return replaced(replaced(page, "parameters", parameter_table()), "interfaces", interfaces())


def models_text(page: str) -> str:
    """models/README.md with its table replaced."""
    return replaced(page, "checkpoints", checkpoint_table())


def replaced(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: made by tools/describe_interface.py -->", f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    assert Config()  # the defaults are in range
    YAML.write_text(yaml_text(), "utf-8")
    PAGE.write_text(page_text(PAGE.read_text("utf-8")), "utf-8")
    MODELS.write_text(models_text(MODELS.read_text("utf-8")), "utf-8")
