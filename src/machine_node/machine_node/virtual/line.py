"""A bad serial line: bytes that flip a bit or get lost, in both directions, by a seed."""

from __future__ import annotations

import random


class SerialLine:
    """What lies between host and controller.

    Args:
        seed: of the damage.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.garbled_share = 0.0
        self.lost_share = 0.0
        self.garbled_bytes = 0
        self.lost_bytes = 0

    def carry(self, data: bytes | bytearray) -> bytes:
        """What arrives of what was sent."""
        if not (self.garbled_share or self.lost_share):
            return bytes(data)
        draw, arrived = self._random.random, bytearray()
        for byte in data:
            if draw() < self.lost_share:
                self.lost_bytes += 1
                continue
            if draw() < self.garbled_share:
                self.garbled_bytes += 1
                byte ^= 1 << self._random.randrange(8)
            arrived.append(byte)
        return bytes(arrived)
