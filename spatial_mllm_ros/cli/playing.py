"""The command ``play``: a recording, published and steered from a terminal."""

from contextlib import suppress
from math import inf
from typing import Annotated

import typer

from . import show
from .options import Bag
from .ros import ros_args
from .terminal import note, progress

REMAP = (
    "Publish a topic elsewhere, may be repeated: its name as recorded, and its new one, in the namespace unless it"
    " begins with a slash. Like /odom:=/robot1/odom."
)
NAMESPACE = (
    "Namespace of the player: what was recorded as /odom is published as NS/odom. /tf, /tf_static, /clock,"
    " /diagnostics, /rosout, /parameter_events and what was recorded below NS stay where they are."
)

WAIT_FOR = (
    "Wait until this topic, named as recorded, has a subscriber, may be repeated: for ever, or as long as --wait says."
)


def play(
    ctx: typer.Context,
    bag: Bag,
    rate: Annotated[float, typer.Option(help="Recorded seconds a second.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end, until Ctrl-C.")] = False,
    start: Annotated[float, typer.Option(help="Where to begin, s from the beginning.")] = 0.0,
    duration: Annotated[float, typer.Option(help="How much to play, s; 0 plays to the end.")] = 0.0,
    start_paused: Annotated[bool, typer.Option("--start-paused", "-p", help="Begin paused.")] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help="Play only this topic, may be repeated.", metavar="NAME")
    ] = None,
    remap: Annotated[list[str] | None, typer.Option("--remap", "-m", help=REMAP, metavar="OLD:=NEW")] = None,
    namespace: Annotated[str, typer.Option(help=NAMESPACE, metavar="NS")] = "",
    clock: Annotated[
        bool, typer.Option("--clock", help="Publish /clock, for nodes with use_sim_time; stamps stay.")
    ] = False,
    restamp: Annotated[bool, typer.Option("--restamp", help="Shift all stamps to now, for nodes without it.")] = False,
    wait: Annotated[
        float, typer.Option(help="Wait up to so long for a subscriber, s; 0 does not wait, inf waits for ever.")
    ] = 0.0,
    wait_for: Annotated[list[str] | None, typer.Option("--wait-for", help=WAIT_FOR, metavar="NAME")] = None,
) -> None:
    """Publish a recording over ROS 2 at its own pace or another, until its end or Ctrl-C.

    On a terminal SPACE pauses and plays on, cursor right plays the next message, cursor up and down change the rate.
    The services are those of ros2 bag play, below rosbag2_player. Arguments of a node may follow --ros-args.
    """
    from ..middleware import make_room_for_images
    from ..recordings import recording_info
    from ..recordings.play import Controls, PlayOptions, PlayReport, interruptible
    from ..recordings.play import play as play_recording
    from .keys import HELP, keys

    make_room_for_images()
    length = duration or max(recording_info(bag).duration - start, 0.0)
    chosen = PlayOptions(
        rate=rate,
        loop=loop,
        start=start,
        duration=duration,
        topics=topic or (),
        clock=clock,
        restamp=restamp,
        wait=wait or (inf if wait_for else 0.0),
        wait_for=wait_for or (),
        paused=start_paused,
        namespace=namespace,
        remap=remap or (),
        ros_args=ros_args(ctx),
    )
    controls, played = Controls(note), PlayReport()
    with suppress(KeyboardInterrupt), interruptible(), keys(controls) as steered, progress("playing") as move:
        if steered:
            note(HELP)
        played = play_recording(bag, chosen, lambda seconds: move(seconds, length), controls)
    note(show.played(played))
