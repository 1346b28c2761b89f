"""What the node logs is text, one message a line, whoever said it."""

import pytest

pytest.importorskip("rclpy")

from spatial_mllm_ros.node.log import PlainLogger

HOSTILE = "label\x1b]0;title\x07\x1b[2J\u202e\n[ERROR] [0.0] [other]: forged"


def test_a_message_is_text(capfd):
    PlainLogger(name="plain").error(HOSTILE)
    said = capfd.readouterr().err
    assert "label\ufffd]0;title" in said and not set("\x07\u202e") & set(said) and "\x1b[2J" not in said
    assert not any(line.startswith("[ERROR] [0.0]") for line in said.splitlines())


def test_messages_of_two_places_do_not_silence_each_other(capfd):
    log = PlainLogger(name="plain")
    for _ in range(3):
        log.error("first", throttle_duration_sec=100.0)
        log.error("second", throttle_duration_sec=100.0)
    said = capfd.readouterr().err
    assert (said.count("first"), said.count("second")) == (1, 1)
