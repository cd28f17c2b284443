"""Tariffs: what electricity, its peak and carbon cost, over the hours of the week. YAML documents in data/tariffs/."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from industriverse_core.documents import Document, Rate, Ratio, Watts, load_document, named_document
from industriverse_core.errors import ErrorCode, ProfileError
from twin_node.run_series import Batch

TARIFF_FOLDER = Path(__file__).parent / "data" / "tariffs"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OTHER_HOURS = "other hours"
DAY_S, HOUR_S = 86400.0, 3600.0
WEEK_S = 7 * DAY_S
_HOUR_NAMES = tuple(f"{hour:02d}:00" for hour in range(24))
_HOUR_EDGES_S, _HOUR_OF_DAY = np.arange(7 * 24 + 1) * HOUR_S, np.tile(np.arange(24), 7)


class Band(Document):
    """Hours of some days with a price of their own. A band that ends at or before its begin ends on the next day."""

    name: str = Field(min_length=1, max_length=32)
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(default=DAYS, min_length=1)
    from_hour: float = Field(ge=0, lt=24, description="local time, e.g. 17.5 for half past five")
    to_hour: float = Field(gt=0, le=24)
    energy_per_kwh: Rate

    def spans_s(self) -> list[tuple[float, float]]:
        """Begin and end of each of its spans, seconds after Monday 00:00, within the week."""
        length = (self.to_hour - self.from_hour) * HOUR_S
        length += DAY_S if length <= 0.0 else 0.0
        spans = []
        for day in self.days:
            begin = DAYS.index(day) * DAY_S + self.from_hour * HOUR_S
            spans.append((begin, min(begin + length, WEEK_S)))
            if begin + length > WEEK_S:
                spans.append((0.0, begin + length - WEEK_S))
        return spans


class Demand(Document):
    """A charge for the highest quarter-hour mean that the site draws from the grid in the billing period."""

    per_kw: Rate = Field(description="price of one kW that the peak rises")
    site_peak: Watts = Field(ge=0, le=1e12, description="the site's highest quarter-hour of the period so far")
    site_load: Watts = Field(
        default=0.0, ge=0, le=1e12, description="what the rest of the site draws while the job runs"
    )


class Tariff(Document):
    """Prices that belong neither to the machine nor to the material. Every number has an entry in `sources`."""

    id: str
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")
    energy_per_kwh: Rate = Field(description="electricity, per kWh, in the hours of no band")
    bands: tuple[Band, ...] = Field(default=(), max_length=64)
    demand: Demand | None = None
    grid_carbon_g_per_kwh: Rate = Field(description="[g CO2e/kWh]")
    grid_carbon_by_hour: tuple[Rate, ...] = Field(
        default=(), description="[g CO2e/kWh] of the day's 24 hours, if known"
    )
    carbon_per_tonne: Rate = Field(description="price of one tonne of CO2e")
    grid_exergy: float = Field(default=1.9, ge=1, le=100, description="cumulative exergy of one joule of electricity")
    risk_aversion: float = Field(default=0.0, ge=0, le=1, description="share of CVaR95 - E[L] that is charged")
    energy_price_uncertainty: Ratio = Field(default=0.0, ge=0, le=1, description="relative standard deviation")
    scrap_uncertainty: Ratio = Field(
        default=0.0, ge=0, le=1, description="relative standard deviation of scrap and failure probabilities"
    )
    entropy_per_mj: Rate = Field(default=0.0, description="price of exergy destroyed; 0 = not charged")
    sources: dict[str, str]

    @model_validator(mode="after")
    def _sound(self) -> Tariff:
        names = [band.name for band in self.bands]
        if len({*names, OTHER_HOURS}) < len(names) + 1:
            raise ValueError(f"each band needs a name of its own, other than '{OTHER_HOURS}'")
        spans = sorted((begin, end, band.name) for band in self.bands for begin, end in band.spans_s())
        for (_, end, first), (begin, _, second) in itertools.pairwise(spans):
            if begin < end:
                raise ValueError(f"bands '{first}' and '{second}' both price {moment_text(begin)}")
        if len(self.grid_carbon_by_hour) not in (0, 24):
            raise ValueError("grid_carbon_by_hour needs 24 numbers")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class WeekTable:
    """A value for every moment of the week.

    Attributes:
        names, values: of the k kinds of hour; values has shape (k,).
        edges_s: begins of the m spans and the week's end, seconds after Monday 00:00, shape (m + 1,).
        kind: which kind each span is, shape (m,).
    """

    names: tuple[str, ...]
    values: np.ndarray
    edges_s: np.ndarray
    kind: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the hours of the week."""
        return float(self.share_of_week() @ self.values)

    def share_of_week(self) -> np.ndarray:
        """Share of the week that each kind has, shape (k,)."""
        return np.bincount(self.kind, np.diff(self.edges_s), len(self.values)) / WEEK_S

    def energy_j(self, batch: Batch, start_s: float | None) -> np.ndarray:
        """Energy [J] that falls into each kind, shape (k,); their sum is the batch's energy.

        `start_s`: first start, seconds after Monday 00:00; None: not known, all moments of the week alike.
        """
        total = batch.count * batch.run.total_j
        if start_s is None:
            return total * self.share_of_week()
        weeks = np.arange(1 + math.ceil((start_s + batch.total_s) / WEEK_S)) * WEEK_S
        begins = (weeks[:, None] + self.edges_s[None, :-1]).ravel() - start_s
        used = np.diff(batch.energy_until_j(begins), append=total)
        return np.bincount(np.tile(self.kind, len(weeks)), used, len(self.values))


def price_table(tariff: Tariff) -> WeekTable:
    """The price per kWh over the week; the last kind is 'other hours'."""
    spans = sorted((begin, end, kind) for kind, band in enumerate(tariff.bands) for begin, end in band.spans_s())
    other = len(tariff.bands)
    edges, kinds = [0.0], []
    for begin, end, kind in spans:
        if begin > edges[-1]:
            edges.append(begin)
            kinds.append(other)
        edges.append(end)
        kinds.append(kind)
    if edges[-1] < WEEK_S:
        edges.append(WEEK_S)
        kinds.append(other)
    names = (*(band.name for band in tariff.bands), OTHER_HOURS)
    values = np.array([*(band.energy_per_kwh for band in tariff.bands), tariff.energy_per_kwh])
    return WeekTable(names, values, np.array(edges), np.array(kinds))


def carbon_table(tariff: Tariff) -> WeekTable:
    """The grid's intensity [g CO2e/kWh] over the week."""
    by_hour = tariff.grid_carbon_by_hour or (tariff.grid_carbon_g_per_kwh,) * 24
    return WeekTable(_HOUR_NAMES, np.array(by_hour), _HOUR_EDGES_S, _HOUR_OF_DAY)


def week_second(start: datetime) -> float:
    """Seconds from Monday 00:00 to a local time. A change of the clock within the job is not followed."""
    return start.weekday() * DAY_S + start.hour * HOUR_S + start.minute * 60.0 + start.second + start.microsecond * 1e-6


def moment_text(second: float) -> str:
    """A moment of the week as people read it: 'mon 07:30'."""
    minutes = round(second / 60.0)
    return f"{DAYS[minutes // 1440 % 7]} {minutes // 60 % 24:02d}:{minutes % 60:02d}"


@lru_cache(maxsize=32)
def load_tariff(name: str) -> Tariff:
    """A tariff by name or by the path of a YAML file. Raises ProfileError (BAD_PROFILE)."""
    path = named_document(name, TARIFF_FOLDER, "tariff", ErrorCode.BAD_PROFILE)
    return load_document(path, Tariff, ErrorCode.BAD_PROFILE)


def start_of(text: str) -> datetime | None:
    """A start as people write it, '2026-03-02T06:00', local time; None for "". Raises ProfileError (BAD_PARAMETER)."""
    if not text:
        return None
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        start = None
    if start is None or start.tzinfo is not None:
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            f"the start '{text[:40]}' is not a local date and time.",
            "Write it without a time zone, as in 2026-03-02T06:00.",
        )
    return start
