"""The agent's buffer: the last observations of all items, by sequence number. No I/O, not thread-safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from machine_node.doors.mtconnect_items import Value


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation: the item's number, when it was made (seconds since 1970, UTC) and what was seen."""

    sequence: int
    item: int
    utc_s: float
    value: Value


class Buffer:
    """A ring of observations. Only changes are kept; each item has at least one observation, always.

    Args:
        first: what each item says at the start.
        size: how many observations are kept.
        utc_s: when the first ones are made.
    """

    def __init__(self, first: Sequence[Value], size: int, utc_s: float) -> None:
        if size < len(first):
            raise ValueError(f"a buffer of {size} cannot hold one observation of each of {len(first)} items")
        self.size = size
        self.next_sequence = 1
        self._ring: list[Observation | None] = [None] * size
        self._latest: dict[int, Observation] = {}
        self._before: dict[int, Observation] = {}  # by item: the last one that has left the ring
        for item, value in enumerate(first):
            self.add(item, utc_s, value)

    @property
    def first_sequence(self) -> int:
        """The oldest sequence number that is still kept."""
        return max(1, self.next_sequence - self.size)

    @property
    def last_sequence(self) -> int:
        """The newest sequence number."""
        return self.next_sequence - 1

    def add(self, item: int, utc_s: float, value: Value) -> bool:
        """Keep what an item says; False when it says the same as before."""
        latest = self._latest.get(item)
        if latest is not None and latest.value == value:
            return False
        slot = self.next_sequence % self.size
        if (old := self._ring[slot]) is not None:
            self._before[old.item] = old
        self._latest[item] = self._ring[slot] = Observation(self.next_sequence, item, utc_s, value)
        self.next_sequence += 1
        return True

    def current(self) -> list[Observation]:
        """The newest observation of every item, by item."""
        return [self._latest[item] for item in sorted(self._latest)]

    def current_at(self, sequence: int) -> list[Observation]:
        """What `current` was when `sequence` was the newest. Raises IndexError outside of what is kept."""
        self._must_hold(sequence, self.last_sequence)
        seen = dict(self._before)
        for number in range(self.first_sequence, sequence + 1):
            kept = self._kept(number)
            seen[kept.item] = kept
        return [seen[item] for item in sorted(seen)]

    def since(self, sequence: int, items: frozenset[int], count: int) -> tuple[list[Observation], int]:
        """At most `count` observations of these items from `sequence` on, and where to go on.

        Raises IndexError when `sequence` is older than what is kept or later than the next one.
        """
        self._must_hold(sequence, self.next_sequence)
        found: list[Observation] = []
        number = sequence
        while number < self.next_sequence and len(found) < count:
            kept = self._kept(number)
            if kept.item in items:
                found.append(kept)
            number += 1
        return found, number

    def until(self, sequence: int, items: frozenset[int], count: int) -> list[Observation]:
        """At most `count` observations of these items up to `sequence`, oldest first. Raises IndexError."""
        self._must_hold(sequence, self.last_sequence)
        found: list[Observation] = []
        number = sequence
        while number >= self.first_sequence and len(found) < count:
            kept = self._kept(number)
            if kept.item in items:
                found.append(kept)
            number -= 1
        return found[::-1]

    def _must_hold(self, sequence: int, last: int) -> None:
        if not self.first_sequence <= sequence <= last:
            raise IndexError(f"{sequence} is not in {self.first_sequence} to {last}")

    def _kept(self, number: int) -> Observation:
        kept = self._ring[number % self.size]
        assert kept is not None
        assert kept.sequence == number
        return kept
