"""When which message of a bag is published again: rate, start, and what latched topics had said before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from industriverse_cli.bags.model import BagMessage, OfferedQos
from industriverse_cli.bags.reader import Bag

MAX_RATE = 1000.0


@dataclass(frozen=True, slots=True)
class Due:
    """A message and when it is published [s] after the start of the replay."""

    due_s: float
    message: BagMessage


def schedule(bag: Bag, topics: frozenset[str], rate: float, start_s: float) -> Iterator[Due]:
    """The messages of some topics from `start_s` after the bag's first receipt on, `rate` times as fast.

    What is latched at the start comes first, at 0 s: a late listener would have got it then, too.
    """
    start_ns = bag.information.start_ns + round(start_s * 1e9)
    latched: dict[str, BagMessage] = {}
    begun = False
    for message in bag.messages(topics):
        if message.log_ns < start_ns:
            if bag.topics[message.topic].latched:
                latched[message.topic] = message
            continue
        if not begun:
            begun = True
            yield from (Due(0.0, latched[name]) for name in sorted(latched))
        yield Due((message.log_ns - start_ns) * 1e-9 / rate, message)
    if not begun:
        yield from (Due(0.0, latched[name]) for name in sorted(latched))


@dataclass(frozen=True, slots=True)
class Offer:
    """What a publisher offers in the replay."""

    reliable: bool
    latched: bool
    depth: int
    deadline_ns: int
    lifespan_ns: int
    liveliness_lease_ns: int


def offer_of(recorded: tuple[OfferedQos, ...], rate: float) -> Offer:
    """One publisher in the place of all that were recorded: it offers what each of them did, stretched by the rate.

    The depth is not known from the network; 10 is ROS's usual one, 1 for what is latched.
    """
    first = recorded[0] if recorded else OfferedQos()
    latched = bool(recorded) and all(each.durability == "transient_local" for each in recorded)
    slower = max(1.0, 1.0 / rate)
    stretched = (first.deadline_ns, first.lifespan_ns, first.liveliness_lease_duration_ns)
    deadline_ns, lifespan_ns, lease_ns = (_stretched(each, slower) for each in stretched)
    return Offer(
        reliable=all(each.reliability == "reliable" for each in recorded),
        latched=latched,
        depth=first.depth or (1 if latched else 10),
        deadline_ns=deadline_ns,
        lifespan_ns=lifespan_ns,
        liveliness_lease_ns=lease_ns,
    )


def _stretched(duration_ns: int, factor: float) -> int:
    forever = 2**63 - 1
    return forever if duration_ns == forever else min(forever, round(duration_ns * factor))
