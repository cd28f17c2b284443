"""A machine profile as MJCF (for MuJoCo) and as URDF (for rviz and others): the same bodies, frames and joint names.

The frame `<machine>_base` is that of program coordinates, on the bed or the work: in it `<machine>_tool`, the tool's
tip, stands where the joints say, however the machine is built. A URDF has one tree, so where the work moves its tree
begins there; the MJCF stands in the room, and there the work moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import Vector
from twin_node.body.mechanics import LETTERS, AxisMechanics, Mechanics, mechanics

NOZZLE_FLAT = 2.5  # outer diameter of a nozzle's tip over that of its hole
NOZZLE_LENGTH_M = 0.012
MILL_RADIUS_M = 3e-3  # of a mill whose magazine is not stated
BEYOND_M = 0.1  # how far what has no bound reaches beyond the axes
PLATE_M = 0.01  # thickness of beams and half that of the bed
BEAM_HEIGHT_M = 0.06  # of the stages above the tool's tip
# contacts push within `margin` [m] and are found within margin + gap: found from 0 on, and none pushes
NEVER_PUSHES = {"margin": "-1000", "gap": "1000"}
WORK, TOOL, STAGE = "0.35 0.37 0.4 1", "0.85 0.6 0.2 1", "0.6 0.65 0.7 0.5"
FORBIDDEN, BLANK = "0.85 0.2 0.2 0.6", "0.75 0.65 0.45 0.7"


@dataclass(frozen=True, slots=True)
class Solid:
    """A box [m] in the frame of its body: `half_m` are half its sides."""

    name: str
    center_m: Vector
    half_m: Vector
    rgba: str
    stops_tool: bool = False


@dataclass(frozen=True, slots=True)
class Cutter:
    """A tool as an upright cylinder that stands on its tip [m]. A printer's nozzle is number 0."""

    number: int
    radius_m: float
    length_m: float

    @property
    def name(self) -> str:
        """Of its geometry."""
        return f"tool_{self.number}"


def cutters(profile: MachineProfile) -> tuple[Cutter, ...]:
    """The nozzle's tip, or the tools of the magazine, which reach up to the spindle."""
    if profile.extruder is not None:
        return (Cutter(0, 0.5 * NOZZLE_FLAT * profile.extruder.nozzle_diameter, NOZZLE_LENGTH_M),)
    length_m = profile.kinematics.z.maximum - profile.kinematics.z.minimum + BEYOND_M
    magazine = [(tool.number, 0.5 * tool.diameter) for tool in profile.tools] or [(0, MILL_RADIUS_M)]
    return tuple(Cutter(number, radius_m, length_m) for number, radius_m in magazine)


def obstacles(profile: MachineProfile) -> dict[str, str]:
    """What the tool must not touch: name of its geometry to its name for people."""
    boxes = {f"keep_out_{number}": box.name for number, box in enumerate(profile.keep_out)}
    return {"bed": "the bed" if profile.kind == "printer" else "the table", **boxes}


def work_solids(profile: MachineProfile) -> list[Solid]:
    """Bed or table with its top where the z axis ends, volumes kept clear, and a mill's blank."""
    low = [axis.minimum for axis in profile.kinematics.axes()]
    high = [axis.maximum for axis in profile.kinematics.axes()]
    top_m = 0.0 if profile.kind == "printer" else low[2]
    solids = [_box("bed", (low[0], low[1], top_m - 2.0 * PLATE_M), (high[0], high[1], top_m), WORK, True)]
    for number, box in enumerate(profile.keep_out):
        solids.append(_box(f"keep_out_{number}", *_clipped(profile, box.bounds_m()), FORBIDDEN, True))
    if profile.stock is not None:
        solids.append(_box("stock", *_clipped(profile, profile.stock.bounds_m()), BLANK))
    return solids


def beam(profile: MachineProfile, carried: str) -> Solid:
    """A stage as a beam along the axis that it carries; the last stage ("") as a block above the tool."""
    half, center = [PLATE_M] * 3, [0.0, 0.0, BEAM_HEIGHT_M]
    if carried:
        along, axis = LETTERS.index(carried), profile.kinematics.axes()[LETTERS.index(carried)]
        half[along], middle = 0.5 * (axis.maximum - axis.minimum), 0.5 * (axis.maximum + axis.minimum)
        center[along] += middle
    else:
        half = [2.0 * PLATE_M] * 3
    return Solid("beam", (center[0], center[1], center[2]), (half[0], half[1], half[2]), STAGE)


def mjcf(profile: MachineProfile, step_s: float, integrator: str) -> str:
    """The machine as MJCF; every axis is a position actuator. Raises PredictionError (NO_BODY)."""
    machine = mechanics(profile)
    root = ET.Element("mujoco", model=profile.id)
    ET.SubElement(root, "option", timestep=_text(step_s), integrator=integrator)
    world = ET.SubElement(root, "worldbody")
    base = ET.SubElement(world, "body", name=f"{profile.id}_base")
    if machine.work:
        _mjcf_joint(profile, base, machine.axis(machine.work))
    for solid in work_solids(profile):
        _mjcf_box(base, solid, solid.name)
    place = ET.SubElement(world, "body", name=f"{profile.id}_frame")
    _mjcf_box(place, beam(profile, machine.tool[0]), "frame")
    for letter, carried in zip(machine.tool, [*machine.tool[1:], ""], strict=True):
        place = ET.SubElement(place, "body", name=f"{profile.id}_stage_{letter}")
        _mjcf_joint(profile, place, machine.axis(letter))
        _mjcf_box(place, beam(profile, carried), f"stage_{letter}")
    tip = ET.SubElement(place, "body", name=f"{profile.id}_tool")
    for cutter in cutters(profile):
        size, pos = _text(cutter.radius_m, 0.5 * cutter.length_m), _text(0.0, 0.0, 0.5 * cutter.length_m)
        ET.SubElement(
            tip, "geom", name=cutter.name, type="cylinder", size=size, pos=pos, rgba=TOOL, mass="0",
            contype="0", conaffinity="0",
        )  # fmt: skip
    contacts = ET.SubElement(root, "contact")
    for cutter in cutters(profile):
        for obstacle in obstacles(profile):
            ET.SubElement(contacts, "pair", geom1=cutter.name, geom2=obstacle, **NEVER_PUSHES)
    _mjcf_actuators(root, machine)
    return _document(root)


def urdf(profile: MachineProfile) -> str:
    """The machine as URDF; joints are named as in `<machine>/joint_states`. Raises PredictionError (NO_BODY)."""
    machine = mechanics(profile)
    root = ET.Element("robot", name=profile.id)
    parent = f"{profile.id}_base"
    link = ET.SubElement(root, "link", name=parent)
    for solid in work_solids(profile):
        _urdf_box(link, solid)
    stages = [(letter, f"{profile.id}_stage_{letter}") for letter in machine.tool]
    if machine.work:
        stages.insert(0, (machine.work, f"{profile.id}_frame"))
    for number, (letter, name) in enumerate(stages):
        _urdf_joint(profile, root, machine.axis(letter), parent, name)
        link = ET.SubElement(root, "link", name=name)
        _urdf_inertia(link, machine.axis(letter).own_mass_kg)
        _urdf_box(link, beam(profile, stages[number + 1][0] if number + 1 < len(stages) else ""))
        parent = name
    joint = ET.SubElement(root, "joint", name=f"{profile.id}_holder", type="fixed")
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=f"{profile.id}_tool")
    link = ET.SubElement(root, "link", name=f"{profile.id}_tool")
    thickest = max(cutters(profile), key=lambda cutter: cutter.radius_m)
    for kind in ("visual", "collision"):
        part = ET.SubElement(link, kind)
        ET.SubElement(part, "origin", xyz=_text(0.0, 0.0, 0.5 * thickest.length_m))
        shape = ET.SubElement(part, "geometry")
        ET.SubElement(shape, "cylinder", radius=_text(thickest.radius_m), length=_text(thickest.length_m))
    return _document(root)


# --- MJCF ---


def _mjcf_joint(profile: MachineProfile, body: ET.Element, axis: AxisMechanics) -> None:
    """A slide whose position is the program coordinate; the mass that it adds to what it carries."""
    sign = -1.0 if axis.moves_work else 1.0
    limits = profile.kinematics.axes()[LETTERS.index(axis.letter)]
    ET.SubElement(
        body, "joint", name=axis.joint, type="slide", frictionloss=_text(axis.friction_n),
        axis=_text(*(sign if letter == axis.letter else 0.0 for letter in LETTERS)),
        range=_text(limits.minimum, limits.maximum), limited="false",
    )  # fmt: skip
    # slides do not turn: any moment of inertia does
    ET.SubElement(body, "inertial", pos="0 0 0", mass=_text(axis.own_mass_kg), diaginertia="0.01 0.01 0.01")


def _mjcf_box(body: ET.Element, solid: Solid, name: str) -> None:
    ET.SubElement(
        body, "geom", name=name, type="box", size=_text(*solid.half_m), pos=_text(*solid.center_m), rgba=solid.rgba,
        mass="0", contype="0", conaffinity="0",
    )  # fmt: skip


def _mjcf_actuators(root: ET.Element, machine: Mechanics) -> None:
    """Motors that hold their place through belt or screw. Two crossed belts, whose motors turn by x + y and x - y,
    have one stiffness: the mean of what both axes ask for, half of it each."""
    actuators = ET.SubElement(root, "actuator")
    for axis in machine.axes:
        if not (machine.crossed_belts and axis.letter in "xy"):
            _mjcf_motor(actuators, axis.joint, axis.stiffness_n_m, axis.damping_n_s_m, axis.max_force_n, "joint")
    if machine.crossed_belts:
        x, y, _ = machine.axes
        tendons = ET.SubElement(root, "tendon")
        for name, sign in (("belt_a", "1"), ("belt_b", "-1")):
            fixed = ET.SubElement(tendons, "fixed", name=name)
            ET.SubElement(fixed, "joint", joint=x.joint, coef="1")
            ET.SubElement(fixed, "joint", joint=y.joint, coef=sign)
            stiffness, damping = (
                0.25 * (x.stiffness_n_m + y.stiffness_n_m),
                0.25 * (x.damping_n_s_m + y.damping_n_s_m),
            )
            _mjcf_motor(actuators, name, stiffness, damping, 0.5 * (x.max_force_n + y.max_force_n), "tendon")


def _mjcf_motor(actuators: ET.Element, name: str, stiffness: float, damping: float, most_n: float, pulls: str) -> None:
    ET.SubElement(
        actuators, "position", {pulls: name}, name=f"{name}_motor", kp=_text(stiffness), kv=_text(damping),
        forcerange=_text(-most_n, most_n),
    )  # fmt: skip


# --- URDF ---


def _urdf_joint(profile: MachineProfile, root: ET.Element, axis: AxisMechanics, parent: str, child: str) -> None:
    limits = profile.kinematics.axes()[LETTERS.index(axis.letter)]
    joint = ET.SubElement(root, "joint", name=axis.joint, type="prismatic")
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    ET.SubElement(joint, "axis", xyz=_text(*(float(letter == axis.letter) for letter in LETTERS)))
    ET.SubElement(
        joint, "limit", lower=_text(limits.minimum), upper=_text(limits.maximum), effort=_text(axis.max_force_n),
        velocity=_text(limits.max_speed),
    )  # fmt: skip
    ET.SubElement(joint, "dynamics", friction=_text(axis.friction_n))


def _urdf_inertia(link: ET.Element, mass_kg: float) -> None:
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "mass", value=_text(mass_kg))
    ET.SubElement(inertial, "inertia", ixx="0.01", iyy="0.01", izz="0.01", ixy="0", ixz="0", iyz="0")


def _urdf_box(link: ET.Element, solid: Solid) -> None:
    for kind in ("visual", "collision") if solid.stops_tool else ("visual",):
        part = ET.SubElement(link, kind, name=solid.name)
        ET.SubElement(part, "origin", xyz=_text(*solid.center_m))
        ET.SubElement(ET.SubElement(part, "geometry"), "box", size=_text(*(2.0 * half for half in solid.half_m)))
        if kind == "visual":
            ET.SubElement(ET.SubElement(part, "material", name=f"{solid.name}_color"), "color", rgba=solid.rgba)


# --- text and boxes ---


def _box(name: str, low: Vector, high: Vector, rgba: str, stops_tool: bool = False) -> Solid:
    center = (0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), 0.5 * (low[2] + high[2]))
    half = (0.5 * (high[0] - low[0]), 0.5 * (high[1] - low[1]), 0.5 * (high[2] - low[2]))
    return Solid(name, center, half, rgba, stops_tool)


def _clipped(profile: MachineProfile, bounds_m: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
    """Finite bounds: what is open ends beyond the axes, or beyond its other bound."""
    low, high = list(bounds_m[0]), list(bounds_m[1])
    for number, axis in enumerate(profile.kinematics.axes()):
        if not math.isfinite(low[number]):
            low[number] = min(axis.minimum, high[number]) - BEYOND_M
        if not math.isfinite(high[number]):
            high[number] = max(axis.maximum, low[number]) + BEYOND_M
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _text(*values: float) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
