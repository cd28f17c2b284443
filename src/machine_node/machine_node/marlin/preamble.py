"""What a controller is told before each program, so that nothing is left of the job before it."""

from __future__ import annotations

from collections.abc import Iterable

from industriverse_core.machine import MachineProfile

MODES = ("G21", "G90", "M83", "G92 E0", "M220 S100", "M221 S100")  # mm, absolute, relative filament, knobs at 100 %
NO_PRESSURE_ADVANCE = "M900 K0"


def preamble(profile: MachineProfile) -> tuple[str, ...]:
    """Modes and limits that the plan of every program starts from: M201, M203, M204 and M205 of the profile [mm, s]."""
    kinematics, extruder = profile.kinematics, profile.extruder
    axes = [
        (letter, axis.max_acceleration, axis.max_speed, axis.jerk)
        for letter, axis in zip("XYZ", kinematics.axes(), strict=True)
    ]
    retract_m_s2 = kinematics.print_acceleration
    if extruder is not None:
        axes.append(("E", extruder.max_acceleration, extruder.max_speed, extruder.jerk))
        retract_m_s2 = extruder.retract_acceleration
    classic = kinematics.planner == "classic_jerk"
    corners = (
        _words((letter, jerk) for letter, _, _, jerk in axes)
        if classic
        else _words([("J", kinematics.junction_deviation)])
    )
    return (
        *MODES,
        "M201" + _words((letter, acceleration) for letter, acceleration, _, _ in axes),
        "M203" + _words((letter, speed) for letter, _, speed, _ in axes),
        "M204"
        + _words([("P", kinematics.print_acceleration), ("R", retract_m_s2), ("T", kinematics.travel_acceleration)]),
        "M205" + corners,
        NO_PRESSURE_ADVANCE,
    )


def _words(values: Iterable[tuple[str, float]]) -> str:
    """` X1000 Y1000`: metres to millimetres, no exponents."""
    return "".join(f" {letter}{value * 1e3:.4f}".rstrip("0").rstrip(".") for letter, value in values)
