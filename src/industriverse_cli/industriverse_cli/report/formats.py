"""Numbers as people read them in the report."""

from __future__ import annotations

import math

from industriverse_cli.report.model import Amount, Quantity
from industriverse_core.units import duration_text, energy_text

_SCALED = {"m": ("m", 1.0), "kg": ("g", 1e3), "m3": ("cm³", 1e6), "c": ("°C", 1.0), "w": ("W", 1.0)}


def number_text(value: float) -> str:
    """Three significant digits, without an exponent where that is readable."""
    if not math.isfinite(value):
        return "unknown"
    if value == 0.0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{digits}f}"


def share_text(share: float) -> str:
    """A share in percent: '51 %', '0.21 %', with a space that does not break."""
    percent = abs(share) * 100.0
    return f"{share * 100.0:.{0 if percent >= 10.0 else 1 if percent >= 1.0 else 2}f}\u00a0%"


def value_text(value: float, unit: str) -> str:
    """A value of one of the units that names of fields end in, or of a currency; a share where `unit` is empty."""
    if unit == "s":
        return duration_text(value)
    if unit == "j":
        return energy_text(value)
    if unit in _SCALED:
        name, factor = _SCALED[unit]
        return f"{number_text(value * factor)}\u00a0{name}"
    if not unit:
        return share_text(value) if abs(value) <= 1.0 else number_text(value)
    return f"{value:.2f}\u00a0{unit}"


def mean_text(each: Quantity | Amount) -> str:
    """The expected value."""
    return value_text(each.mean if isinstance(each, Quantity) else each.value, each.unit)


def interval_text(each: Quantity) -> str:
    """'a to b', or that the value is exact."""
    if each.low == each.high:
        return "exact"
    low, high = (value_text(side, each.unit).partition(" (")[0] for side in (each.low, each.high))  # without kWh
    return f"{low} to {high}"


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers within [low, high], evenly spaced."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return [low] if math.isfinite(low) else []
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= raw * (1.0 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def time_ticks(end_s: float, most: int) -> tuple[list[float], str, float]:
    """Times [s] for an axis from 0, the unit to write them in, and its length in seconds."""
    unit, length = ("s", 1.0) if end_s < 180.0 else ("min", 60.0) if end_s < 3.0 * 3600.0 else ("h", 3600.0)
    return [value * length for value in ticks(0.0, end_s / length, most)], unit, length
