"""Fast DDS with shared memory that images fit into, where nobody has set it up otherwise; see docs/middleware.md.

What a process publishes to others of its machine goes through shared memory of its own, 512 kB by default: an image
and its depth are larger, and of raw images at 30 Hz about half are then lost. So this has to be set in the process that
publishes images, before its first context: by the program, not by a library that it uses.
"""

import os
from pathlib import Path
from shutil import disk_usage

PROFILE = Path(__file__).with_name("fastdds.xml")
SEGMENT = 32 * 1024 * 1024  # bytes, as in the profile
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # of Fast DDS 2 and 3
VARIABLES = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")  # what says that the user has set it up
SHARED_MEMORY = "/dev/shm"


def make_room_for_images() -> bool:
    """Set the profile for this process and its children; False where another is set, or there is no memory for it.

    Containers often have 64 MB of shared memory: where less than two segments are free, the default does better.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return False
    try:
        if disk_usage(SHARED_MEMORY).free < 2 * SEGMENT:
            return False
    except OSError:
        return False
    os.environ |= dict.fromkeys(PROFILE_VARIABLES, str(PROFILE))
    return True
