"""Which topics are recorded and which are played, by name and type."""

from __future__ import annotations

from fnmatch import fnmatchcase

CLOCK_TYPE = "rosgraph_msgs/msg/Clock"
CONTROL_TYPES = ("industriverse_msgs/msg/MotionPermit", "industriverse_msgs/msg/StopRequest")
ALWAYS = ("/clock", "/diagnostics", "/tf", "/tf_static", "/rosout")
BULKY_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")


def is_hidden(topic: str) -> bool:
    """ROS's rule: a part of the name begins with an underscore (the inside of actions and services)."""
    return any(part.startswith("_") for part in topic.split("/"))


def absolute(name: str, namespace: str) -> str:
    """A name or pattern as people write it: relative ones are in the cell's namespace, with or without its slash."""
    return name if name.startswith("/") else f"/{namespace.strip('/')}/{name}".replace("//", "/")


def is_in(topic: str, namespace: str) -> bool:
    """Whether a topic belongs to a namespace."""
    return topic.startswith(absolute("", namespace))


def is_recorded(topic: str, type_name: str, namespace: str, everything: bool, wanted: tuple[str, ...]) -> bool:
    """Whether a topic is recorded: the named ones; else all of the cell but pictures; with `everything` those too."""
    if is_hidden(topic):
        return False
    if wanted:
        return any(fnmatchcase(topic, absolute(pattern, namespace)) for pattern in wanted)
    if everything:
        return True
    return (is_in(topic, namespace) or topic in ALWAYS) and type_name not in BULKY_TYPES


def is_played(topic: str, type_name: str, wanted: tuple[str, ...], control: bool, clock: bool) -> bool:
    """Whether a recorded topic is published again. What steers a machine, and the clock, only when asked for."""
    if type_name in CONTROL_TYPES and not control:
        return False
    if type_name == CLOCK_TYPE and not clock:
        return False
    matches = (fnmatchcase(topic, pattern if pattern.startswith("/") else f"*/{pattern}") for pattern in wanted)
    return not wanted or any(matches)
