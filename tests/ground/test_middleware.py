"""The profile of Fast DDS: what it says, and when it is left alone."""

import os
from collections import namedtuple
from shutil import disk_usage
from xml.etree import ElementTree

import pytest

from spatial_mllm_ros import middleware

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_profile(monkeypatch):
    environment = {name: value for name, value in os.environ.items() if name not in middleware.VARIABLES}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(middleware, "disk_usage", lambda path: Usage(10**9, 0, 10**9))


def test_both_generations_of_fast_dds_find_the_profile():
    assert middleware.make_room_for_images()
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        root = ElementTree.parse(os.environ[name]).getroot()
        space = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
        assert [int(e.text) for e in root.iter(f"{space}segment_size")] == [middleware.SEGMENT]
        assert [e.text for e in root.iter(f"{space}type")] == ["SHM", "UDPv4"]
    # raw 640x480 of 3 bytes with depth of 2 bytes: at least ten frames fit
    assert middleware.SEGMENT >= 10 * 640 * 480 * 5


@pytest.mark.parametrize("name", middleware.VARIABLES)
def test_what_the_user_has_set_stays(name):
    os.environ[name] = "of/the/user"
    before = dict(os.environ)
    assert not middleware.make_room_for_images()
    assert os.environ == before


def test_a_container_with_little_shared_memory_keeps_the_default(monkeypatch):
    monkeypatch.setattr(middleware, "disk_usage", lambda path: Usage(64 << 20, 1 << 20, 63 << 20))
    assert not middleware.make_room_for_images()


def test_a_machine_without_shared_memory(monkeypatch):
    monkeypatch.setattr(middleware, "disk_usage", disk_usage)
    monkeypatch.setattr(middleware, "SHARED_MEMORY", "/nowhere")
    assert not middleware.make_room_for_images()
