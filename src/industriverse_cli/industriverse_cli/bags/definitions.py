"""Message definitions from where ROS installs them: the texts of share/<package>/msg. Needs no ROS in the process."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path

SEPARATOR = "=" * 80
BUILT_IN = frozenset(
    ("bool", "byte", "char", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
) | {"uint64", "string", "wstring"}
_TYPE = re.compile(r"(?:(?P<package>[A-Za-z]\w*)/(?:msg/)?)?(?P<name>[A-Za-z]\w*)(?:<=\d+)?(?:\[[<=\d]*\])?")


class UnknownTypeError(LookupError):
    """A message type that is not installed here."""


@cache
def full_definition(type_name: str) -> str:
    """The message's text and that of every message in it, each once, as rosbag2 concatenates them ("ros2msg").

    Raises UnknownTypeError.
    """
    parts = [_text(type_name)]
    seen = {type_name}
    queue = _fields(type_name)
    while queue:
        inner = queue.pop(0)
        if inner in seen:
            continue
        seen.add(inner)
        short = inner.replace("/msg/", "/")
        parts.append(f"{SEPARATOR}\nMSG: {short}\n{_text(inner)}")
        queue += _fields(inner)
    return "\n".join(parts)


@cache
def type_hash(type_name: str) -> str:
    """REP-2011 hash of an installed type. Raises UnknownTypeError."""
    path = _path(type_name, "json")
    try:
        hashes = json.loads(path.read_text())["type_hashes"]
        return next(str(item["hash_string"]) for item in hashes if item["type_name"] == type_name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UnknownTypeError(type_name) from error


def _text(type_name: str) -> str:
    try:
        return _path(type_name, "msg").read_text().rstrip("\n") + "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownTypeError(type_name) from error


def _path(type_name: str, ending: str) -> Path:
    package, _, name = type_name.partition("/msg/")
    if name.isidentifier() and package.isidentifier():
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
            path = Path(prefix) / "share" / package / "msg" / f"{name}.{ending}"
            if prefix and path.is_file():
                return path
    raise UnknownTypeError(type_name)


def _fields(type_name: str) -> list[str]:
    """Full names of the messages that are fields of a message, in the order of the text."""
    package = type_name.partition("/")[0]
    found = []
    for line in _text(type_name).splitlines():
        words = line.partition("#")[0].split()
        match = _TYPE.fullmatch(words[0]) if len(words) >= 2 else None
        if match and not (match["package"] is None and match["name"] in BUILT_IN):
            found.append(f"{match['package'] or package}/msg/{match['name']}")
    return found
