"""Cameras of a launch: which they are, which topics they have, and how a recording has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.bringup.cameras import SHARED, arguments, beside, choose, fit, played, point, resolved, shown
from spatial_mllm_ros.config import build
from spatial_mllm_ros.recordings.play.names import GLOBAL, given_name

TWO = {
    "cameras": ["front", "rear"],
    "front.image_transport": "compressed",
    "rear.image_topic": "/usb/image_raw",
    "status_rate": 2.0,
}
NOTHING = {"image": "", "depth": "", "camera_info": ""}


def test_one_of_several_cameras_is_chosen_with_what_belongs_to_it():
    assert choose(TWO, "rear") == {"cameras": ["rear"], "rear.image_topic": "/usb/image_raw", "status_rate": 2.0}


def test_the_only_camera_gets_another_name():
    values = {"camera.image_transport": "compressed", "pose.source": "tf"}  # it is called camera where nothing is said
    assert choose(values, "d435") == {"cameras": ["d435"], "d435.image_transport": "compressed", "pose.source": "tf"}


def test_a_name_that_none_of_several_has_is_refused():
    with pytest.raises(ValueError, match="camera = left: the parameter file has front, rear; choose one of them"):
        choose(TWO, "left")


def test_topics_are_those_that_are_subscribed_to():
    topics = {"image": "/d435/color/image_raw/compressed", "depth": "/d435/depth/compressedDepth", "camera_info": ""}
    camera = build(point({"camera.depth_transport": "compressed"}, topics)).camera("camera")
    assert (camera.image_topic, camera.image_transport) == ("/d435/color/image_raw", "compressed")
    assert (camera.depth_topic, camera.depth_transport) == ("/d435/depth", "compressedDepth")
    assert camera.camera_info_topic == "/d435/color/camera_info"


def test_a_plain_topic_is_raw_whatever_the_file_says():
    values = point({"camera.image_transport": "compressed"}, NOTHING | {"image": "image"})
    camera = build(values).camera("camera")
    assert (camera.image_topic, camera.image_transport, camera.camera_info_topic) == ("image", "raw", "camera_info")


def test_no_depth_and_other_intrinsics():
    camera = build(point({}, NOTHING | {"depth": "none", "camera_info": "/info"})).camera("camera")
    assert (camera.image_topic, camera.depth_topic, camera.camera_info_topic) == ("color/image_raw", "", "/info")


def test_topics_of_one_camera_among_several_need_its_name():
    with pytest.raises(
        ValueError, match="depth_topic is of one camera, but there are front, rear: name it with camera:="
    ):
        point(TWO, NOTHING | {"depth": "/depth"})
    assert point(TWO, NOTHING) == TWO
    assert point(choose(TWO, "front"), NOTHING | {"depth": "/d"})["front.depth_topic"] == "/d"


@pytest.mark.parametrize(
    ("image", "info"),
    [
        ("/a/color/image_raw", "/a/color/camera_info"),
        ("color/image/compressed", "color/camera_info"),
        ("x", "camera_info"),
    ],
)
def test_the_camera_info_of_an_image_is_beside_it(image, info):
    assert beside(image) == info


RAW = ["/camera/color/image_raw", "/camera/depth/image_raw", "/camera/color/camera_info"]


@pytest.mark.parametrize("namespace", ["", "/robot1", "/fleet/robot1"])
@pytest.mark.parametrize("depth", ["raw", "compressed", "compressedDepth"])
@pytest.mark.parametrize("image", ["raw", "compressed"])
@pytest.mark.parametrize("told", ["raw", "compressed"])
def test_the_transports_of_a_recording_are_found(image, depth, told, namespace):
    """Whatever the file says: of ten ways to record, one configuration."""
    suffix = {"raw": "", "compressed": "/compressed", "compressedDepth": "/compressedDepth"}
    recorded = [RAW[0] + suffix[image], RAW[1] + suffix[depth], RAW[2], "/tf", "/tf_static"]
    values, heard, lacking = fit({"camera.image_transport": told}, namespace, recorded)
    camera = build(values).camera("camera")
    assert (camera.image_transport, camera.depth_transport, lacking) == (image, depth, [])
    assert heard == recorded[:3]


def test_a_transport_that_is_told_and_recorded_stays():
    both = [*RAW, RAW[0] + "/compressed"]
    assert fit({"camera.image_transport": "compressed"}, "", both)[0] == {"camera.image_transport": "compressed"}
    assert fit({}, "", both)[0] == {}


def test_what_a_recording_lacks_is_said():
    _, heard, lacking = fit({"cameras": ["front"]}, "/robot1", RAW)
    assert lacking == [
        "/robot1/front/color/image_raw (front.image_topic)",
        "/robot1/front/depth/image_raw (front.depth_topic)",
        "/robot1/front/color/camera_info (front.camera_info_topic)",
    ]
    assert not heard
    without = {"camera.depth_topic": ""}
    assert fit(without, "", [RAW[0], RAW[2]]) == (without, [RAW[0], RAW[2]], [])


def test_a_topic_that_is_absolute_does_not_move_with_the_namespace():
    values = {"camera.image_topic": "/camera/color/image_raw"}
    assert fit(values, "/robot1", RAW)[1:] == (RAW[1:], ["/camera/color/image_raw (camera.image_topic)"])
    assert shown(values, "/robot1") == "/camera/color/image_raw"
    assert shown({"cameras": ["front"]}, "/robot1") == "/robot1/front/color/image_raw"
    assert shown({"camera.image_topic": "~/image"}, "/robot1") == "/robot1/spatial_mllm/image"


def test_a_hint_is_what_would_be_typed():
    topics = {"image": "/d435/color/image_raw/compressed", "depth": "", "camera_info": "/d435/color/camera_info"}
    assert arguments(topics, "/robot1") == (
        "image_topic:=/robot1/d435/color/image_raw/compressed depth_topic:=none"
        " camera_info_topic:=/robot1/d435/color/camera_info"
    )


name = st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True)


@given(st.lists(name, min_size=1, max_size=3), name)
def test_played_topics_are_in_the_namespace_once(parts, robot):
    topic, namespace = "/" + "/".join(parts), f"/{robot}"
    there = played(topic, namespace)
    assert there.startswith(f"{namespace}/") or topic in SHARED
    assert played(there, namespace) == there and played(topic, "") == topic == played(topic[1:], "")
    assert there == resolved(given_name(topic, namespace), namespace), "the player has another rule"


def test_what_all_robots_share_is_what_the_player_keeps_out_of_its_namespace():
    assert SHARED == GLOBAL and all(played(topic, "/robot1") == topic for topic in GLOBAL)


DEPTH_INFO = "/camera/depth/camera_info"


def test_depth_that_is_not_registered_has_a_camera_info_of_its_own():
    values = point({}, NOTHING | {"depth": "/camera/depth/image_raw", "depth_info": DEPTH_INFO})
    assert build(values).camera("camera").depth_info_topic == DEPTH_INFO
    assert build(point(values, NOTHING | {"depth_info": "none"})).camera("camera").depth_info_topic == ""
    assert DEPTH_INFO in fit(values, "", [*RAW, DEPTH_INFO])[1]
    assert fit(values, "", RAW)[2] == [f"{DEPTH_INFO} (camera.depth_info_topic)"]
    without = {"camera.depth_topic": "", "camera.depth_info_topic": DEPTH_INFO}
    assert fit(without, "", RAW)[2] == []


def test_that_of_a_recording_is_found_by_itself_unless_there_is_to_be_none():
    known = {"image": RAW[0], "depth": RAW[1], "camera_info": RAW[2], "depth_info": DEPTH_INFO}
    values, heard, lacking = fit({}, "/robot1", [*RAW, DEPTH_INFO], [known])
    assert values["camera.depth_info_topic"] == f"/robot1{DEPTH_INFO}" and DEPTH_INFO in heard and not lacking
    assert arguments(known, "").endswith(f"depth_info_topic:={DEPTH_INFO}")
    none = {"camera.depth_info_topic": ""}
    assert fit(none, "", [*RAW, DEPTH_INFO], [known])[0] == none
