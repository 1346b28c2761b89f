"""How much of a recording is read: every bound in one place, with the words that say it. docs/limits.md is this table.

Bounds are numbers of bytes and things, not seconds: the same file always reads the same. Where a bound grows with the
file, what is packed in it may be as much again as a recording of that size really holds.
"""

from dataclasses import dataclass

from .errors import BagError

KIB, MIB, GIB = 2**10, 2**20, 2**30


class TooMuch(BagError):
    """A bound was passed; the text says which, by how much, and what would be read."""


class Spent(TooMuch):
    """A bound on all of a reading was passed, which ends it."""


@dataclass(frozen=True)
class Limit:
    """A bound on something of a recording.

    Args:
        what: is bounded, in words that go before a number.
        most: so many; ``per_byte`` more for each byte on the disk, of a chunk or a message that itself has there.
        unit: of the number, "" for a plain one.
        why: it does not meet real recordings.
        error: that is raised.
    """

    what: str
    most: int
    unit: str
    why: str
    per_byte: float = 0.0
    error: type[TooMuch] = TooMuch

    def check(self, value: int, size: int = 0) -> None:
        """Raises ``error`` where ``value`` is more than what has ``size`` bytes on the disk may have."""
        most = self.most + int(self.per_byte * size)
        if value > most:
            found, bound = _said(value, self.unit), _said(most, self.unit)
            raise self.error(f"{self.what}: {found}, at most {bound} are read")

    def checked(self, text: str) -> str:
        """A text, where it is no longer than that. Raises TooMuch."""
        self.check(len(text))
        return text

    @property
    def said(self) -> str:
        """The bound in words."""
        return _said(self.most, self.unit) + (f" and {self.per_byte:g} for each byte on the disk" * (self.per_byte > 0))


def _said(value: int, unit: str) -> str:
    if unit != "bytes":
        return f"{value:,} {unit}".strip()
    for factor, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= factor:
            return f"{value / factor:.4g} {name}"
    return f"{value} bytes"


# What is unpacked
CHUNK = Limit(
    "a packed chunk",
    128 * MIB,
    "bytes",
    "recorders close a chunk after 1 to 4 MB, or after one message that is larger",
    50,
)
LARGEST_CHUNK = Limit("a chunk", GIB, "bytes", "it is in memory as a whole")
MESSAGE = Limit("a message that is packed with zstd", 128 * MIB, "bytes", "a raw image of 8K has 100 MB", 50)
PASS = Limit(
    "what is unpacked in one reading",
    GIB,
    "bytes",
    "minutes of raw images that are all black, which pack 1000:1; what cameras see packs less than 10:1",
    200,
    Spent,
)
FILE = Limit(
    "files that are packed as a whole, unpacked to the temporary folder",
    256 * MIB,
    "bytes",
    "raw images that are all black pack 1000:1",
    1000,
)
FREE = Limit("what stays free in the temporary folder", 256 * MIB, "bytes", "others need it: 'no room to unpack it'")
OVERLAP = Limit(
    "messages that wait for those of chunks of the same time",
    256 * MIB,
    "bytes",
    "no error: where more would have to wait, they come a little out of order",
)

# What is counted
RECORDS = Limit(
    "messages and other records",
    100_000,
    "",
    "the stamps of a message alone, packed, and its entry in an index take more than 4 bytes",
    0.25,
    Spent,
)
TRANSFORMS = Limit(
    "transforms in one reading",
    4 * MIB,
    "bytes",
    "a robot's are less than a hundredth of its images, and pack 5:1 to 30:1",
    20,
    Spent,
)
STEPS = Limit(
    "steps of SQLite in one reading", 5_000_000, "", "a message takes 20 of them, and 20 bytes of the file", 12.5, Spent
)
TOPICS = Limit("topics and types", 10_000, "", "large robots have hundreds")
TEXTS = Limit("names and definitions of topics", 16 * MIB, "bytes", "a robot's have 2 MB; they are kept")
NAME = Limit("a name of a topic, type or file", 1024, "characters", "ROS 2 has topics of at most 255")
HEADER = Limit("fields of a header in a ROS 1 bag", 100, "", "the longest has 7")
IMAGE_TOPICS = Limit("topics of images", 100, "", "no error: the first by name are looked at; vehicles have tens")
POSE_TOPICS = Limit("topics of Odometry, and of PoseStamped", 100, "", "no error: as above; robots have a few")
FIRSTS = Limit("first messages that are kept", 64 * MIB, "bytes", "no error: others are read again when asked for")
FILES = Limit("files of a folder", 10_000, "", "a day in files of ten seconds")

# What is parsed
NESTED = Limit("a message of many parts", 16 * MIB, "bytes", "transforms and markers: each part becomes an object")
NESTED_RECORDED = Limit(
    "a message of many parts, by a definition of the recording", 2 * MIB, "bytes", "a part may have one byte"
)
JSON = Limit("values of a message in JSON", 300_000, "", "an image is one; 10,000 transforms have 120,000")
LINKS = Limit("transforms of a message in JSON or protobuf", 50_000, "", "each becomes objects; robots have hundreds")
DEFINITIONS = Limit("definitions of topics that are used", MIB, "characters", "a robot's have 2 MB in all", 1)
DEFINITION = Limit("a definition", 256 * KIB, "characters", "the longest of ROS has 60 KiB, with all that it needs")
IDL = Limit("a definition in IDL without comments", 32 * KIB, "characters", "the parser needs a second for these")
EXPRESSIONS = Limit("constants and bounds of a definition in IDL", 500, "", "the parser takes 2 ms for each")
TYPES = Limit("types of a definition", 500, "", "the largest of ROS need 60")
FIELDS = Limit("fields of a definition", 3000, "", "the largest of ROS have 400")
BRACKETS = Limit("levels of brackets of a definition in IDL", 8, "", "a list in a struct in two modules has four")
PARTS = Limit("parts of a message of fixed length", 1000, "", "there is code for each; numbers are one part")
ARRAY = Limit("an array of fixed length", 2**26, "", "covariances have 36")
YAML = Limit("metadata.yaml", 8 * MIB, "bytes", "10,000 files have 2 MB")
YAML_DEPTH = Limit("levels of a text in YAML", 16, "", "metadata.yaml has six")
QOS = Limit("a quality of service", 64 * KIB, "characters", "no error: none is known then; ten publishers have 5 KB")
