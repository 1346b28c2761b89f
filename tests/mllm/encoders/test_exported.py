"""What is said of exported encoders that cannot be used."""

import json

import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.encoders.exported import read_exported

PROFILE = {"min": [1, 3, 14, 14], "opt": [4, 3, 112, 140], "max": [32, 3, 140, 168]}
ABOUT = {
    "format": 1,
    "model": "0123456789abcdef",
    "precision": "fp32",
    "vggt": {"patch_size": 14, "img_size": 518, "geometry": [f"layer_{i}" for i in range(4)], "shown": 8},
    "files": {"spatial.onnx": {"profiles": {"images": PROFILE}}},
}


def written(folder, **changes):
    (folder / "encoders.json").write_text(json.dumps({**ABOUT, **changes}))
    return folder


def refused(folder, *words):
    with pytest.raises(SpatialError) as error:
        read_exported(folder)
    assert error.value.code == ErrorCode.BAD_REQUEST
    for word in words:
        assert word in error.value.message


def test_what_export_wrote(tmp_path):
    found = read_exported(written(tmp_path))
    assert found.patch == 14 and found.longest == 518 and found.window == 0 and found.precision == "fp32"
    assert found.profiles("spatial.onnx")["images"]["max"] == [32, 3, 140, 168]
    found.check_model("0123456789abcdef")


def test_of_another_model(tmp_path):
    with pytest.raises(SpatialError, match="are of model 0123456789ab, the model that answers is ffff: export it"):
        read_exported(written(tmp_path)).check_model("ffff")


def test_no_folder_of_encoders(tmp_path):
    refused(tmp_path, "no encoders.json in", "spatial-mllm export")
    refused(tmp_path / "nothing", "no encoders.json in")


def test_a_newer_and_an_older_format(tmp_path):
    refused(written(tmp_path, format=2), "format 2, expected 1", "update this one")
    refused(written(tmp_path, format=None), "format None, expected 1", "export the encoders again")


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 100_000, b'{"format": 1', b"\xff\xfe", b'{"format": 1}'])
def test_no_json_of_ours(tmp_path, text):
    (tmp_path / "encoders.json").write_bytes(text)
    refused(tmp_path, "export the encoders again")


@pytest.mark.parametrize(
    "name, value",
    [
        ("patch_size", 0),
        ("patch_size", 14.0),
        ("img_size", 2**16),
        ("shown", True),
        ("geometry", ["layer_0"] * 3),
        ("geometry", ["../x"] * 4),
    ],
)
def test_sizes_that_cannot_be(tmp_path, name, value):
    refused(written(tmp_path, vggt={**ABOUT["vggt"], name: value}), f"{name} is not as export writes it")


@pytest.mark.parametrize(
    "profile",
    [
        None,
        {},
        {**PROFILE, "max": [32, 3, 140]},
        {**PROFILE, "max": [32, 3, 140, 2**31]},
        {**PROFILE, "min": ["1", 3, 14, 14]},
        {**PROFILE, "min": [True, 3, 14, 14]},
    ],
)
def test_profiles_that_are_none(tmp_path, profile):
    folder = written(tmp_path, files={"spatial.onnx": {"profiles": {"images": profile}}})
    refused(folder, "spatial.onnx is not as export writes it")


@pytest.mark.parametrize("files", [{}, {"spatial.onnx": {"profiles": {}}}, {"visual.onnx": {"profiles": {}}}])
def test_nothing_that_sees_images(tmp_path, files):
    refused(written(tmp_path, files=files), "spatial.onnx is not as export writes it")


@pytest.mark.parametrize("name", ["../spatial.onnx", "spatial.so"])
def test_files_elsewhere_are_none(tmp_path, name):
    refused(written(tmp_path, files={name: {"profiles": {"images": PROFILE}}}), "is not as export writes it")


def test_a_file_that_is_missing(tmp_path):
    found = read_exported(written(tmp_path))
    with pytest.raises(SpatialError, match=r"spatial\.onnx is missing: export them again"):
        found.file("spatial.onnx")
    with pytest.raises(SpatialError, match=r"no geometry\.onnx: export a model that has it"):
        found.file("geometry.onnx")
