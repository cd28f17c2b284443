"""Conversions at the two human borders (G-code and what people read). Inside, everything is SI."""

from __future__ import annotations

import math

MM = 1e-3  # [m]
MM_PER_MIN = 1e-3 / 60.0  # [m/s]
MM3 = 1e-9  # [m^3]
KWH = 3.6e6  # [J]
RPM = 2.0 * math.pi / 60.0  # [rad/s]
ZERO_CELSIUS = 273.15  # [K]


def kelvin(temperature_c: float) -> float:
    """Absolute temperature [K] of a temperature in degrees Celsius."""
    return temperature_c + ZERO_CELSIUS


def filament_area_m2(diameter_m: float) -> float:
    """Cross-section [m^2] of a round filament."""
    return math.pi / 4.0 * diameter_m**2


def duration_text(seconds: float) -> str:
    """A duration as people read it: '42 s', '7 min 05 s', '3 h 20 min'."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def energy_text(joules: float) -> str:
    """An energy as people read it: '812 J', '54.3 kJ', '1.62 MJ (0.45 kWh)'."""
    if not math.isfinite(joules):
        return "unknown"
    if abs(joules) < 1e3:
        return f"{joules:.0f} J"
    if abs(joules) < 1e6:
        return f"{joules / 1e3:.1f} kJ"
    return f"{joules / 1e6:.2f} MJ ({joules / KWH:.2f} kWh)"
