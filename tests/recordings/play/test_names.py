"""Where recorded topics go, as ROS resolves what it is given."""

import pytest

from spatial_mllm_ros.recordings import BagError
from spatial_mllm_ros.recordings.play.names import given_name, parse_rule, ros_arguments


@pytest.mark.parametrize(
    ("topic", "namespace", "given"),
    [
        ("/camera/image", "/", "/camera/image"),
        ("/camera/image", "/robot1", "camera/image"),
        ("camera/image", "/robot1", "camera/image"),  # a ROS 1 bag may have it so
        ("/tf", "/robot1", "/tf"),
        ("/tf_static", "/robot1", "/tf_static"),
        ("/clock", "/robot1", "/clock"),
        ("/left/tf", "/robot1", "left/tf"),
        ("/robot1/odom", "/robot1", "/robot1/odom"),
        ("/robot12/odom", "/robot1", "robot12/odom"),
        ("/a/b/odom", "/a/b", "/a/b/odom"),
    ],
)
def test_what_is_handed_to_ros(topic, namespace, given):
    assert given_name(topic, namespace) == given


@pytest.mark.parametrize("rule", ["/odom", "/odom:=", ":=/odom", "", "/odom=/x"])
def test_what_is_no_rule(rule):
    with pytest.raises(BagError, match=r"expected OLD:=NEW"):
        parse_rule(rule)


def test_a_rule_counts_for_a_topic_in_the_namespace_and_for_one_that_stays():
    assert ros_arguments("robot1/", ["/tf:=tf"], ["--log-level", "warn"]) == [
        *("--ros-args", "-r", "__ns:=/robot1"),
        *("-r", "/tf:=tf", "-r", "tf:=tf"),
        *("--log-level", "warn"),
    ]
    assert ros_arguments("", []) == ros_arguments("/", []) == ["--ros-args"]
