"""A rig beside a threat identifier, score tables, and machines that go from job to job."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import PowerSample, ResidualSample, TelemetrySample
from industriverse_core.threats import Cause, ThreatEstimate
from shield_node.threats.fusion import FusionModel
from shield_node.threats.identifier import ThreatIdentifier
from tests.campaign.rig import Rig, Sample

BURST_S = 2.0  # every other burst: they are a third of the work
IDLE_S = (5.0, 60.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True)
class Row:
    """The identifier at one telemetry sample."""

    now_s: float
    scores: np.ndarray
    estimate: ThreatEstimate


class Watched:
    """One machine and what watches it."""

    def __init__(
        self, profile: MachineProfile, seed: int, model: FusionModel | None = None, room_k: float = 0.0
    ) -> None:
        self.rig = Rig(profile, seed, BURST_S, room_k)
        self.identifier = ThreatIdentifier(profile, model)
        self.draw = random.Random(seed)

    def follow(self, samples: Iterator[Sample]) -> Iterator[Row]:
        """Give each sample to the identifier; a row a telemetry sample."""
        identifier, rig = self.identifier, self.rig
        for sample in samples:
            now = rig.steady_s
            if isinstance(sample, TelemetrySample):
                identifier.observe_telemetry(sample, now)
                yield Row(rig.now_s, identifier.scores(now), identifier.estimate(now))
            elif isinstance(sample, PowerSample):
                identifier.observe_power(sample, now)
            elif isinstance(sample, ResidualSample):
                identifier.observe_residual(sample, now)
            else:
                identifier.observe_vibration(sample, now)


class Table:
    """Scores with their true causes, for a fit. Columns as shield_node.threats.fit reads them."""

    def __init__(self) -> None:
        self._scores: list[np.ndarray] = []
        self._columns: list[tuple[int, int, float]] = []

    def add(self, row: Row, cause: Cause, seed: int, stands_for_s: float) -> None:
        """A row that stands for so many seconds."""
        self._scores.append(row.scores.astype(np.float32))
        self._columns.append((int(cause), seed, stands_for_s))

    def extend(self, other: Table) -> None:
        """All rows of another."""
        self._scores += other._scores
        self._columns += other._columns

    def save(self, path: Path) -> None:
        """One .npz file."""
        cause, seed, seconds = (np.array(column) for column in zip(*self._columns, strict=True))
        np.savez_compressed(path, scores=np.array(self._scores), cause=cause, seed=seed, seconds=seconds)
