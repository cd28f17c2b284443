"""What one run draws and feeds over its time, and runs of it back to back, as running sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError

STEP_S = 1.0  # instructions are merged into steps of at least this length
QUARTER_S = 900.0  # grid operators bill the mean power of quarter-hours
SPAN_LIMIT_S = 10 * 366 * 86400.0


@dataclass(frozen=True, slots=True, eq=False)
class RunSeries:
    """One run as running sums at n + 1 moments, the first of them its start; straight lines between.

    Attributes:
        time_s: moments, ascending from 0.
        energy_j: electric energy used until then.
        material_kg: material fed until then.
    """

    time_s: np.ndarray
    energy_j: np.ndarray
    material_kg: np.ndarray

    @staticmethod
    def constant(time_s: float, energy_j: float, material_kg: float) -> RunSeries:
        """A run of constant power and feed. Raises PredictionError as from_columns does."""
        columns = (np.array([value], dtype=float) for value in (time_s, energy_j, material_kg))
        return RunSeries.from_columns(*columns)

    @staticmethod
    def from_columns(duration_s: np.ndarray, energy_j: np.ndarray, material_kg: np.ndarray) -> RunSeries:
        """From durations, energies and masses of n instructions, shape (n,) each.

        Raises PredictionError (CANNOT_PRICE) for a value that is negative or not finite, and for a run that is
        longer than ten years.
        """
        for name, column in (("duration", duration_s), ("energy", energy_j), ("material", material_kg)):
            if not (np.isfinite(column).all() and (column >= 0.0).all()):
                raise _unpriceable(f"the {name} of the run has a value that is negative or not finite")
        end_s = np.cumsum(duration_s)
        if len(end_s) and end_s[-1] > SPAN_LIMIT_S:
            raise _unpriceable(f"the run takes {end_s[-1]:g} s, more than ten years")
        whole = np.floor(end_s / STEP_S)
        last = np.flatnonzero(np.diff(whole, append=math.inf) > 0.0)
        sums = (np.concatenate([[0.0], np.cumsum(column)[last]]) for column in (duration_s, energy_j, material_kg))
        return RunSeries(*sums)

    def scaled(self, time_s: float, energy_j: float, material_kg: float) -> RunSeries:
        """The same course with other totals; a column that is zero throughout becomes constant."""
        if len(self.time_s) < 2:
            return RunSeries.constant(time_s, energy_j, material_kg)
        totals = (time_s, energy_j, material_kg)
        wanted = zip((self.time_s, self.energy_j, self.material_kg), totals, strict=True)
        even = np.linspace(0.0, 1.0, len(self.time_s))
        columns = ((column / column[-1] if column[-1] > 0.0 else even) * total for column, total in wanted)
        return RunSeries(*columns)

    @property
    def total_s(self) -> float:
        """Duration of the run [s]."""
        return float(self.time_s[-1])

    @property
    def total_j(self) -> float:
        """Electric energy of the run [J]."""
        return float(self.energy_j[-1])

    def energy_share(self, share: np.ndarray) -> np.ndarray:
        """Share of the energy used when a share of the time has passed."""
        return _share(self.time_s, self.energy_j, share)

    def material_share(self, share: np.ndarray) -> np.ndarray:
        """Share of the material fed when a share of the time has passed."""
        return _share(self.time_s, self.material_kg, share)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`count` runs one after the other, `pause_s` without power after each."""

    run: RunSeries
    count: int = 1
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        if self.total_s > SPAN_LIMIT_S:
            raise _unpriceable(f"{self.count} runs of {self.cycle_s:g} s each take more than ten years")

    @property
    def cycle_s(self) -> float:
        """From one start to the next [s]."""
        return self.run.total_s + self.pause_s

    @property
    def total_s(self) -> float:
        """From the first start to the last end [s]."""
        return self.count * self.cycle_s - self.pause_s

    def energy_until_j(self, time_s: np.ndarray) -> np.ndarray:
        """Energy [J] used until each moment after the first start; 0 before it, all of it after the end."""
        if self.cycle_s <= 0.0:
            return np.where(time_s >= 0.0, self.count * self.run.total_j, 0.0)
        clock = np.clip(time_s, 0.0, self.total_s)
        done = np.minimum(np.floor(clock / self.cycle_s), self.count - 1)
        now = np.interp(clock - done * self.cycle_s, self.run.time_s, self.run.energy_j)
        return done * self.run.total_j + now

    def highest_quarter_w(self, start_s: float | None) -> float:
        """Highest mean power [W] over a quarter of an hour.

        `start_s`: the first start, counted from any full hour; the quarters are those of the clock. None: the
        start is not known, and the worst position of the quarters is taken.
        """
        if start_s is None:
            begins = self._worst_begins()
        else:
            begins = np.arange(-math.fmod(start_s, QUARTER_S), self.total_s + QUARTER_S, QUARTER_S)
        used = self.energy_until_j(begins + QUARTER_S) - self.energy_until_j(begins)
        return float(used.max(initial=0.0)) / QUARTER_S

    def _worst_begins(self) -> np.ndarray:
        """Begins of the quarters that can be the worst: those that begin or end where the power changes."""
        within = math.ceil(QUARTER_S / max(self.cycle_s, STEP_S))  # runs that fit into a quarter
        starts = np.arange(min(self.count, 2 + within)) * self.cycle_s
        changes = (starts[:, None] + self.run.time_s[None, :]).ravel()
        return np.concatenate([changes, changes - QUARTER_S])


def _share(time_s: np.ndarray, column: np.ndarray, share: np.ndarray) -> np.ndarray:
    if column[-1] <= 0.0 or time_s[-1] <= 0.0:
        return share
    return np.interp(share * time_s[-1], time_s, column) / column[-1]


def _unpriceable(what: str) -> PredictionError:
    return PredictionError(ErrorCode.CANNOT_PRICE, f"{what}.", "Predict the job again, or price fewer parts.")
