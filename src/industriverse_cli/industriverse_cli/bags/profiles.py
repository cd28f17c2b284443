"""QoS policies as bags write them: YAML with rosbag2's words (metadata version 9; numbers of older ones are read)."""

from __future__ import annotations

from typing import Any

import yaml

from industriverse_cli.bags.model import OfferedQos, broken

FOREVER_NS = 2**63 - 1
WORDS = {
    "history": {0: "system_default", 1: "keep_last", 2: "keep_all", 3: "unknown"},
    "reliability": {0: "system_default", 1: "reliable", 2: "best_effort", 3: "unknown", 4: "best_available"},
    "durability": {0: "system_default", 1: "transient_local", 2: "volatile", 3: "unknown", 4: "best_available"},
    "liveliness": {0: "system_default", 1: "automatic", 3: "manual_by_topic", 4: "unknown", 5: "best_available"},
}
NUMBERS = {policy: {word: number for number, word in words.items()} for policy, words in WORDS.items()}


def as_plain(qos: OfferedQos) -> dict[str, Any]:
    """One profile as metadata.yaml has it."""
    return {
        "history": qos.history,
        "depth": qos.depth,
        "reliability": qos.reliability,
        "durability": qos.durability,
        "deadline": _duration(qos.deadline_ns),
        "lifespan": _duration(qos.lifespan_ns),
        "liveliness": qos.liveliness,
        "liveliness_lease_duration": _duration(qos.liveliness_lease_duration_ns),
        "avoid_ros_namespace_conventions": False,
    }


def to_text(profiles: tuple[OfferedQos, ...]) -> str:
    """Profiles as the text of a channel's `offered_qos_profiles`."""
    return yaml.safe_dump([as_plain(each) for each in profiles], sort_keys=False).strip() if profiles else ""


def from_plain(value: Any, place: object) -> tuple[OfferedQos, ...]:
    """Profiles from YAML: a list, or the text of one. Raises InputError (BAG_BROKEN)."""
    try:
        items = yaml.safe_load(value) if isinstance(value, str) else value
        return tuple(_profile(item) for item in items or ())
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise broken(place, "its QoS profiles cannot be read") from error


def _profile(item: dict[str, Any]) -> OfferedQos:
    words = {policy: _word(policy, item[policy]) for policy in WORDS}
    durations = ("deadline", "lifespan", "liveliness_lease_duration")
    times = {f"{name}_ns": _nanoseconds(item[name]) for name in durations}
    return OfferedQos(depth=max(0, int(item["depth"])), **words, **times)


def _word(policy: str, value: Any) -> str:
    if isinstance(value, int):
        return WORDS[policy].get(value, "unknown")
    return value if value in NUMBERS[policy] else "unknown"


def _duration(nanoseconds: int) -> dict[str, int]:
    return {"sec": nanoseconds // 10**9, "nsec": nanoseconds % 10**9}


def _nanoseconds(value: dict[str, Any]) -> int:
    """Zero and everything beyond 2^63 mean no limit."""
    total = int(value["sec"]) * 10**9 + int(value["nsec"])
    return total if 0 < total < FOREVER_NS else FOREVER_NS
