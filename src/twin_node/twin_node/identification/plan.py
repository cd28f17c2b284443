"""The step tests as a program: what excites each parameter, in an order in which none hides another.

| step | tells |
|---|---|
| motors off, all cold | electronics |
| homed, standing | motors that hold |
| bed: heat, hold, off | its power, capacity, loss |
| strokes of x, y and z | power by path speed |
| hot end: heat, hold, hold under the fan, cool | its power, capacity, both losses; both fans |

One heater is on at a time, so the meter's watts are that heater's. The bed cools while the axes move and
the hot end is tested.
"""

from __future__ import annotations

import math

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Axis, MachineProfile

IDLE_S, STANDING_S = 60, 45
HOTEND_C, BED_C = 180.0, 70.0  # below what filament decays at: the nozzle may be full
MARGIN_K = 20.0  # below the heater's limit
BED_HOLD_S, HOTEND_HOLD_S, FAN_HOLD_S, FAN_COOL_S, COOL_S = 240, 150, 120, 45, 150  # the gates add dwells up
STROKE_M_S, STROKE_S, AXIS_S = 0.05, 3.0, 70.0  # a stroke is long enough for slow telemetry to see its middle
EDGE_SHARE = 0.1  # of an axis's range, left free at both ends
CLEAR_M = 0.01  # of the nozzle over the bed


def step_test(profile: MachineProfile) -> str:
    """The program as G-code. The same profile gives the same text.

    Raises PredictionError (CANNOT_CALIBRATE) for a machine that has no such test.
    """
    if profile.kind != "printer" or profile.hotend is None:
        raise PredictionError(
            ErrorCode.CANNOT_CALIBRATE,
            f"{profile.id} is a {profile.kind}; the step tests are those of a printer's heaters, fans and motors.",
            "Calibrate a printer.",
        )
    lines = [f"; step tests of {profile.id}: see docs/calibration.md", "; no filament is moved", *_idle(profile)]
    if profile.bed is not None:
        lines += _bed(profile.bed.max_temperature)
    lines += _motion(profile)
    lines += _hotend(profile, profile.hotend.max_temperature)
    return "\n".join([*lines, "M84", ""])


def _idle(profile: MachineProfile) -> list[str]:
    """Electronics, then with the motors."""
    z = profile.kinematics.z
    lines = ["G90", "M107", "; all off", "M84", f"G4 S{IDLE_S}", "; motors hold", "G28"]
    return [*lines, f"G1 Z{_mm(z.minimum + CLEAR_M)} F{_feed(z.max_speed)}", f"G4 S{STANDING_S}"]


def _motion(profile: MachineProfile) -> list[str]:
    """While the bed cools."""
    lines: list[str] = []
    for letter, axis in zip("XYZ", profile.kinematics.axes(), strict=True):
        lines += [f"; strokes of {letter}", *_strokes(letter, axis)]
    return lines


def _strokes(letter: str, axis: Axis) -> list[str]:
    """Back and forth for AXIS_S at one speed; where the way is short, slower."""
    span = axis.maximum - axis.minimum
    low = axis.minimum + max(EDGE_SHARE * span, CLEAR_M if letter == "Z" else 0.0)
    high = axis.maximum - EDGE_SHARE * span
    speed = min(STROKE_M_S, 0.8 * axis.max_speed, (high - low) / STROKE_S)
    length = min(high - low, 4.0 * STROKE_S * speed)
    count = 2 * max(1, math.ceil(AXIS_S * speed / length / 2.0))
    lines = [f"G1 {letter}{_mm(low)} F{_feed(speed)}"]
    return lines + [f"G1 {letter}{_mm(low + length if k % 2 == 0 else low)}" for k in range(count)]


def _bed(limit_c: float) -> list[str]:
    target = min(BED_C, limit_c - MARGIN_K)
    return ["; bed: heat, hold, off", f"M190 S{target:g}", f"G4 S{BED_HOLD_S}", "M140 S0"]


def _hotend(profile: MachineProfile, limit_c: float) -> list[str]:
    target = min(HOTEND_C, limit_c - MARGIN_K)
    return [
        "; hot end: heat, hold, hold under the fan, cool", f"M109 S{target:g}", f"G4 S{HOTEND_HOLD_S}", "M106 S255",
        f"G4 S{FAN_HOLD_S}", "M104 S0", *_nudge(profile), f"G4 S{FAN_COOL_S}", "M107", f"G4 S{COOL_S}",
    ]  # fmt: skip


def _nudge(profile: MachineProfile) -> list[str]:
    """One short move: the gates let nothing but dwells last no longer than ten minutes."""
    x = profile.kinematics.x
    middle = 0.5 * (x.minimum + x.maximum)
    return [f"G1 X{_mm(middle)} F{_feed(min(STROKE_M_S, x.max_speed))}"]


def _mm(metres: float) -> str:
    return f"{metres * 1e3:.3f}".rstrip("0").rstrip(".")


def _feed(metres_s: float) -> str:
    """mm/min."""
    return f"{metres_s * 6e4:.0f}"
