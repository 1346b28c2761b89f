"""Parameter files, against what rclpy itself makes of them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.bringup import parameters

NODE = "/robot1/spatial_mllm"

FILES = {
    "a section for every namespace": "/**/spatial_mllm: {ros__parameters: {status_rate: 2.0, pose: {source: tf}}}",
    "every node": "/**: {ros__parameters: {status_rate: 3.0}}",
    "nested namespaces": "robot1: {spatial_mllm: {ros__parameters: {cameras: [front, rear]}}}",
    "its full name": "/robot1/spatial_mllm: {ros__parameters: {autostart: false, ask.timeout: 4}}",
    "one part of the name": "/*/spatial_mllm: {ros__parameters: {status_rate: 5.0}}",
    "the later one counts": """
        /robot1/spatial_mllm: {ros__parameters: {status_rate: 1.0, ask: {timeout: 1.0}}}
        /**: {ros__parameters: {status_rate: 9.0}}
    """,
    "beside other nodes": """
        /robot2/spatial_mllm: {ros__parameters: {status_rate: 1.0}}
        /robot1/other: {ros__parameters: {status_rate: 2.0}}
        /robot1/spatial_mllm: {ros__parameters: {status_rate: 3.0}}
    """,
    "numbers, quotes and switches": """
        /**: {ros__parameters: {a: 1e-3, b: -2E5, c: .5e1, d: 7, e: '7', f: "1e-3", g: true, h: yes, i: [1.0, 2.5]}}
    """,
}


def written(folder: Path, text: str) -> Path:
    file = folder / "parameters.yaml"
    file.write_text(text)
    return file


def by_rclpy(file: Path) -> dict:
    """Dotted names and values of what rclpy takes from a file for NODE."""
    rclpy = pytest.importorskip("rclpy", reason="the twin is rclpy")
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(
        "spatial_mllm",
        namespace="robot1",
        context=context,
        cli_args=["--ros-args", "--params-file", str(file)],
        automatically_declare_parameters_from_overrides=True,
        start_parameter_services=False,
        enable_rosout=False,
    )
    known = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    node.destroy_node()
    context.try_shutdown()
    return known


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_file_is_read_as_rclpy_reads_it(text, tmp_path):
    file = written(tmp_path, text)
    ours, known = parameters.read(file, NODE), by_rclpy(file)
    assert ours and same(ours) == same({name: known[name] for name in ours})


def test_a_file_that_is_written_is_read_by_rclpy(tmp_path):
    texts = ("", "7", "1e-3", "inf", "0x1p3", "yes", "~", "caf\u00e9 #1: 'x'")
    values = {"switch": True, "count": 3, "length": 1e-7, "far": 1e30, "names": ["a", "1"], "lengths": [1.0, 2.5]}
    values |= {f"text{i}": text for i, text in enumerate(texts)}
    known = by_rclpy(written(tmp_path, parameters.text(values, NODE)))
    assert same({name: known[name] for name in values}) == same(values)


def same(values: dict) -> dict:
    """Values with their types, which 1 and 1.0 and True do not share; lists as lists."""
    lists = {name: list(value) for name, value in values.items() if not isinstance(value, (bool, int, float, str))}
    return {name: (type(value), value) for name, value in values.items() if name not in lists} | lists


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no parameter file: expected '/**/NODE:' and 'ros__parameters:' below it"),
        ("just words", "is no parameter file"),
        ("status_rate: 2.0", "is no parameter file"),
        ("/**: [", "is no YAML: while parsing a flow node"),
        ("[" * 2000, "is no YAML: maximum recursion depth exceeded"),
        (
            "/spatial_mllm: {ros__parameters: {}}",
            f"has nothing for {NODE}, only for /spatial_mllm; /**/spatial_mllm fits",
        ),
        ("/**/spatial_mlm: {ros__parameters: {}}", "only for /**/spatial_mlm;"),
    ],
)
def test_a_file_that_would_leave_the_node_on_defaults_is_refused(text, said, tmp_path):
    with pytest.raises(ValueError) as refused:
        parameters.read(written(tmp_path, text), NODE)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml: No such file or directory"):
        parameters.read(tmp_path / "nowhere.yaml", NODE)
    (tmp_path / "parameters.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no YAML"):
        parameters.read(tmp_path / "parameters.yaml", NODE)


part = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)


@given(st.lists(part, min_size=1, max_size=4))
def test_wildcards(parts):
    node = "/" + "/".join(parts)
    *_, last = parts
    assert all(parameters.is_for(section, node) for section in ("/**", f"/**/{last}", node, "/*" * len(parts)))
    assert not any(
        parameters.is_for(section, node) for section in (f"{node}x", "/*" * (len(parts) + 1), f"/**/{last}x")
    )
    assert not parameters.is_for(node.replace("/", "."), node)


value = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(part, value | st.dictionaries(part, st.lists(st.text()), max_size=3), max_size=5))
def test_what_is_written_is_read_again(tree):
    flat = parameters.flat(tree)
    assert not any(isinstance(leaf, dict) for leaf in flat.values())
    again = yaml.load(parameters.text(flat, NODE), parameters.Loader)
    assert list(parameters.sections(again)) == [(NODE, flat)]
