"""What the names of image topics say, by the customs of ROS."""

from itertools import pairwise

TRANSPORTS = {"raw": "", "compressed": "/compressed", "compressedDepth": "/compressedDepth"}
"""How images arrive -> what that adds to their topic."""


def split(topic: str) -> tuple[str, str]:
    """A topic without what its transport adds, and the transport."""
    for transport, suffix in TRANSPORTS.items():
        if suffix and topic.endswith(suffix):
            return topic.removesuffix(suffix), transport
    return topic, "raw"


def words(topic: str) -> list[str]:
    """The words of a topic without what its transport adds, in small letters."""
    return split(topic)[0].lower().replace("_", "/").strip("/").split("/")


def is_rectified(topic: str) -> bool:
    """Whether its images follow P of camera_info, without distortion, as ``image_rect`` and ``image_rect_color`` do."""
    return any(word.startswith("rect") for word in _last(topic))


def is_aligned(topic: str) -> bool:
    """Whether depth says that its pixels are those of the colour image, as ``aligned_depth_to_color`` does."""
    said = words(topic)
    to_color = any(a == "to" and b in ("color", "colour", "rgb") for a, b in pairwise(said))
    return to_color or any(word.startswith("align") for word in said)


def is_registered(topic: str) -> bool:
    """Whether depth says that it is seen by the colour camera, as ``depth_registered`` does, too."""
    return is_aligned(topic) or any(word.startswith("regist") for word in words(topic))


def is_depth_rectified(depth: str, image: str) -> bool:
    """Whether depth of the colour camera is rectified: as the colour image, where its own name says nothing of it."""
    if "raw" in _last(depth) and not is_aligned(depth):
        return is_rectified(depth)
    return is_rectified(depth) or is_rectified(image)


def _last(topic: str) -> list[str]:
    return words(split(topic)[0].rpartition("/")[2])
