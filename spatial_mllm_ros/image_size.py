"""How large images may be: a few bytes can stand for gigabytes of pixels."""

from .errors import BadMessage

MAX_SIDE = 16384
ANY_PIXELS = 2**23  # whatever their bytes are
MOST_PIXELS = 2**25  # 8192 x 4096
PIXELS_PER_BYTE = 1100  # up to there: as many as a PNG or JPEG of one colour has
WRITTEN = 16  # pixels per byte above that: photos have fewer
MOST_DEPTH = 12 * 2**20  # pixels; each is a point in space as well
MOST_SCANS = 32  # of a progressive JPEG, each of which goes over all pixels; usual are 10


def check_size(width: int, height: int, nbytes: int, most: int | None = None, what: str = "image") -> None:
    """Refuse an image by its size in pixels, and the bytes that it is to be decoded from.

    Args:
        most: pixels that it may have whatever its bytes are; None: what the bytes can really hold.

    Raises:
        BadMessage: a side of 0 or above MAX_SIDE, or too many pixels.
    """
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE:
        raise BadMessage(f"{what} of {width}x{height}: expected 1 to {MAX_SIDE} pixels a side")
    held = max(ANY_PIXELS, min(MOST_PIXELS, PIXELS_PER_BYTE * nbytes), WRITTEN * nbytes)
    if most is not None and width * height > most:
        raise BadMessage(f"{what} of {width}x{height}: expected at most {most} pixels")
    if width * height > held:
        raise BadMessage(f"{what} of {width}x{height} in {nbytes} bytes: expected at most {held} pixels in so few")
