"""How much of a recording is read: every bound in one place, with the words that say it. docs/limits.md is this table.

Bounds are numbers of bytes and things, not seconds: the same file always reads the same. Where a bound grows with the
file, what is packed in it may be as much again as a recording of that size really holds.
"""

from dataclasses import dataclass

from .errors import BagError

KIB, MIB, GIB = 2**10, 2**20, 2**30


class TooMuch(BagError):
    """A bound was passed; the text says which, by how much, and what would be read."""


@dataclass(frozen=True)
class Limit:
    """A bound on something of a recording.

    Args:
        what: is bounded, in words that go before a number.
        most: so many; ``per_byte`` more for each byte of the file (0: none).
        unit: of the number, "" for a plain one.
        why: it does not meet real recordings.
    """

    what: str
    most: int
    unit: str
    why: str
    per_byte: float = 0.0

    def check(self, value: int, size: int = 0) -> None:
        """Raises TooMuch where ``value`` is more than a file of ``size`` bytes may have."""
        most = self.most + int(self.per_byte * size)
        if value > most:
            found, bound = _said(value, self.unit), _said(most, self.unit)
            raise TooMuch(f"{self.what}: {found}, at most {bound} are read")

    def checked(self, text: str) -> str:
        """A text, where it is no longer than that. Raises TooMuch."""
        self.check(len(text))
        return text

    @property
    def said(self) -> str:
        """The bound in words."""
        return _said(self.most, self.unit) + (f" and {self.per_byte:g} for each byte of the file" * (self.per_byte > 0))


def _said(value: int, unit: str) -> str:
    if unit != "bytes":
        return f"{value:,} {unit}".strip()
    for factor, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= factor:
            return f"{value / factor:.4g} {name}"
    return f"{value} bytes"


# What is unpacked
CHUNK = Limit(
    "a chunk, unpacked",
    128 * MIB,
    "bytes",
    "recorders close a chunk after 1 to 4 MB, or after one message that is larger",
    50,
)
LARGEST_CHUNK = Limit("a chunk of any file, unpacked", GIB, "bytes", "a chunk is in memory as a whole")
MESSAGE = Limit("a message packed with zstd, unpacked", 128 * MIB, "bytes", "a raw image of 8K has 100 MB", 50)
PASS = Limit(
    "what is unpacked in one reading",
    GIB,
    "bytes",
    "minutes of raw images that are all black, which pack 1000:1; what cameras see packs less than 10:1",
    200,
)
FILE = Limit(
    "a file packed as a whole, unpacked to the temporary folder",
    256 * MIB,
    "bytes",
    "raw images that are all black pack 1000:1",
    1000,
)
FREE = Limit("", 256 * MIB, "bytes", "stays free in the temporary folder")
OVERLAP = Limit(
    "messages of chunks that overlap in time",
    256 * MIB,
    "bytes",
    "no error: where more would have to wait for their turn, they come a little out of order",
)

# What is counted
MESSAGES = Limit(
    "messages",
    100_000,
    "",
    "the stamps of a message alone, packed, and its entry in an index take more than 4 bytes",
    0.25,
)
STEPS = Limit(
    "steps of SQLite's machine in one reading", 5_000_000, "", "a message takes 20, and 20 bytes of its file", 12.5
)
TOPICS = Limit("topics and types", 10_000, "", "large robots have hundreds")
TEXTS = Limit("names and definitions of topics", 64 * MIB, "bytes", "a definition has some KiB; they are kept")
NAME = Limit("a name of a topic, type or file", 4096, "characters", "ROS 2 has topics of at most 255")
IMAGE_STEPS = Limit(
    "steps of SQLite's machine in one reading", 5_000_000, "", "a message takes 20, and 20 bytes of its file", 12.5
)
TOPICS = Limit("topics of images", 100, "", "vehicles have tens of cameras; first messages are held")
IMAGE_TOPICS = Limit("topics of images", 100, "", "no error: the first by name are looked at; vehicles have tens")
POSE_TOPICS = Limit("topics of Odometry, and of PoseStamped", 100, "", "no error: as above; robots have a few")
FIRSTS = Limit("first messages that are kept", 64 * MIB, "bytes", "no error: others are read again when asked for")
TRANSFORMS = Limit(
    "bytes of transforms",
    32 * MIB,
    "bytes",
    "transforms that repeat for an hour pack 30:1, with images beside them",
    50,
)

# What is parsed
NESTED = Limit("a message of many parts", 16 * MIB, "bytes", "50,000 markers; each part becomes an object")
NESTED_RECORDED = Limit(
    "a message of many parts by a definition of the recording", 2 * MIB, "bytes", "parts may be as small as a byte"
)
JSON = Limit("values of a message in JSON", 300_000, "", "an image is one; 10,000 transforms have 120,000")
LINKS = Limit("transforms of a message in JSON or protobuf", 50_000, "", "each becomes objects; robots have hundreds")
DEFINITION = Limit("a definition", 256 * KIB, "characters", "the longest of ROS has 60 KiB, with all that it needs")
DEFINITIONS = Limit("definitions of topics that are used", MIB, "characters", "a robot's have 2 MB in all", 1)
IDL = Limit("a definition in IDL without comments", 32 * KIB, "characters", "the parser needs a second for these")
EXPRESSIONS = Limit("constants and bounds of a definition in IDL", 500, "", "the parser takes 2 ms for each")
TYPES = Limit("types of a definition", 500, "", "the largest of ROS need 60")
FIELDS = Limit("fields of a definition", 3000, "", "the largest of ROS have 400")
BRACKETS = Limit("levels of brackets", 8, "", "a list of names in a module of a module has four")
PARTS = Limit("parts of arrays of fixed length", 1000, "", "code is made for each of them; covariances are not meant")
ARRAY = Limit("a number in a definition", 2**26, "", "length of an array or a text")
YAML = Limit("metadata.yaml", 8 * MIB, "bytes", "10,000 files have 2 MB")
QOS = Limit("a quality of service", 64 * KIB, "characters", "ten publishers have 5 KB")
YAML_DEPTH = Limit("levels of metadata.yaml", 16, "", "it has six")
FILES = Limit("files of a folder", 10_000, "", "a day in files of ten seconds")
