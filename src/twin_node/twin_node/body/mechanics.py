"""What the axes of a machine carry, weigh and resist: from the profile, or stated assumptions where it is silent.

Each axis is a mass on a spring and a damper, its belt or screw, that the motor pulls along the planned path: the
motor keeps to its place, the mass follows. F = k (x_motor - x) + c (v_motor - v), at most the motors' force.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Axis, MachineProfile, Structure

GRAVITY_M_S2 = 9.80665
LETTERS = "xyz"
# what moves the work ("" = it stands still), and what moves the tool, from the frame outwards
CHAINS: dict[Structure, tuple[str, str]] = {
    "gantry": ("", "yxz"),
    "moving_table": ("y", "xz"),
    "bed_slinger": ("y", "zx"),
    "corexy": ("z", "yx"),
    "flying_corexy": ("", "zyx"),
}
# assumptions for what a profile does not state, typical of desktop machines
STAGE_MASS_KG = {"printer": 0.5, "mill": 2.0}  # of one stage by itself
WORK_MASS_KG = {"printer": 1.0, "mill": 2.5}  # of the bed or table
FRICTION_N = {"printer": 2.0, "mill": 10.0}
RESONANCE_HZ = {"x": 50.0, "y": 40.0, "z": 90.0}  # belts; z is on a screw
DAMPING_RATIO = 0.07
MAX_RESONANCE_HZ = 150.0  # that the body's time step can follow
FORCE_RESERVE = 2.5  # force at standstill over what acceleration, friction and weight need


@dataclass(frozen=True, slots=True)
class AxisMechanics:
    """One axis.

    Attributes:
        joint: its name, as in joint states.
        moves_work: it moves the work against the path's direction, not the tool along it.
        moving_mass_kg, own_mass_kg: all that its motors move; that without the axes which it carries.
        weight_n: force in the axis's direction by which its motors hold what it carries.
        max_force_n, friction_n, stiffness_n_m, damping_n_s_m: of motors, guides, and belt or screw.
    """

    letter: str
    joint: str
    moves_work: bool
    moving_mass_kg: float
    own_mass_kg: float
    weight_n: float
    friction_n: float
    max_force_n: float
    stiffness_n_m: float
    damping_n_s_m: float


@dataclass(frozen=True, slots=True)
class Mechanics:
    """The axes in the order x, y, z, and how they are stacked: the axis of the work ("" = none), those of the tool
    from the frame outwards; with crossed belts, x and y are driven by both of their motors."""

    axes: tuple[AxisMechanics, AxisMechanics, AxisMechanics]
    work: str
    tool: str
    crossed_belts: bool

    def axis(self, letter: str) -> AxisMechanics:
        """The axis with this letter."""
        return self.axes[LETTERS.index(letter)]


def mechanics(profile: MachineProfile) -> Mechanics:
    """The machine's mechanism.

    Raises PredictionError (NO_BODY) where masses do not fit together, or an axis is too stiff.
    """
    structure = profile.kinematics.structure
    work, tool = CHAINS[structure]
    masses = _moving_masses(profile, work, tool)
    axes = []
    for letter, axis in zip(LETTERS, profile.kinematics.axes(), strict=True):
        carried = tool[tool.index(letter) + 1 : tool.index(letter) + 2] if letter in tool else ""
        own_kg = masses[letter] - (masses[carried] if carried else 0.0)
        if not own_kg > 0.0:
            raise PredictionError(
                ErrorCode.NO_BODY,
                f"{profile.id}: kinematics.{letter}.moving_mass is {masses[letter]:g} kg, but {letter} carries "
                f"{carried} with {masses[carried]:g} kg ({structure}).",
                "State of each axis all that its motors move, carried axes included.",
            )
        axes.append(_axis(profile, letter, axis, letter == work, masses[letter], own_kg))
    return Mechanics((axes[0], axes[1], axes[2]), work, tool, "corexy" in structure)


def _moving_masses(profile: MachineProfile, work: str, tool: str) -> dict[str, float]:
    """All that each axis moves [kg]: as stated, else the assumption for it and what it carries."""
    axes = dict(zip(LETTERS, profile.kinematics.axes(), strict=True))
    masses: dict[str, float] = {}
    carried_kg = 0.0
    for letter in reversed(tool):
        carried_kg = axes[letter].moving_mass or carried_kg + STAGE_MASS_KG[profile.kind]
        masses[letter] = carried_kg
    if work:
        masses[work] = axes[work].moving_mass or WORK_MASS_KG[profile.kind]
    return masses


def _axis(
    profile: MachineProfile, letter: str, axis: Axis, moves_work: bool, moving_kg: float, own_kg: float
) -> AxisMechanics:
    resonance_hz = axis.resonance or RESONANCE_HZ[letter]
    if resonance_hz > MAX_RESONANCE_HZ:
        raise PredictionError(
            ErrorCode.NO_BODY,
            f"{profile.id}: kinematics.{letter}.resonance is {resonance_hz:g} Hz; the body follows up to "
            f"{MAX_RESONANCE_HZ:g} Hz.",
            f"State {MAX_RESONANCE_HZ:g} Hz for an axis that is stiffer.",
        )
    friction_n = FRICTION_N[profile.kind] if axis.friction is None else axis.friction
    weight_n = (-1.0 if moves_work else 1.0) * moving_kg * GRAVITY_M_S2 if letter == "z" else 0.0
    needed_n = moving_kg * axis.max_acceleration + friction_n + abs(weight_n)
    omega = 2.0 * math.pi * resonance_hz
    return AxisMechanics(
        letter=letter,
        joint=f"{profile.id}_{letter}",
        moves_work=moves_work,
        moving_mass_kg=moving_kg,
        own_mass_kg=own_kg,
        weight_n=weight_n,
        friction_n=friction_n,
        max_force_n=axis.max_force or FORCE_RESERVE * needed_n,
        stiffness_n_m=moving_kg * omega**2,
        damping_n_s_m=2.0 * DAMPING_RATIO * moving_kg * omega,
    )
