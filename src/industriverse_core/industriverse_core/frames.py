"""The frames of a cell: map → cell → <machine>_base → <machine>_tool (REP-105), and where each is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from industriverse_core.telemetry import Vector

MAP = "map"
CELL = "cell"
ORIGIN: Vector = (0.0, 0.0, 0.0)
Quaternion = tuple[float, float, float, float]  # x, y, z, w


def base_frame(machine_id: str) -> str:
    """Where the machine stands; program coordinates count from its origin."""
    return f"{machine_id}_base"


def tool_frame(machine_id: str) -> str:
    """The tool's tip."""
    return f"{machine_id}_tool"


@dataclass(frozen=True, slots=True)
class Pose:
    """Where something stands on the floor of what it stands in: a place [m] and a turn about z [rad]."""

    position_m: Vector = ORIGIN
    yaw: float = 0.0

    @property
    def quaternion(self) -> Quaternion:
        """The turn as x, y, z, w."""
        return 0.0, 0.0, math.sin(0.5 * self.yaw), math.cos(0.5 * self.yaw)

    def applied_to(self, point_m: Vector) -> Vector:
        """A point of this pose's own frame in the frame that it stands in [m]."""
        (x, y, z), (px, py, pz) = point_m, self.position_m
        sine, cosine = math.sin(self.yaw), math.cos(self.yaw)
        return px + cosine * x - sine * y, py + sine * x + cosine * y, pz + z


@dataclass(frozen=True, slots=True)
class Transform:
    """Where the frame `child` lies in the frame `parent`."""

    parent: str
    child: str
    pose: Pose


def fixed_transforms(machine_id: str, base: Pose | None = None, cell: Pose | None = None) -> tuple[Transform, ...]:
    """What does not move: the cell on the map and the machine's base in the cell; both at the origin unless said."""
    return (
        Transform(MAP, CELL, cell or Pose()),
        Transform(CELL, base_frame(machine_id), base or Pose()),
    )


@dataclass(frozen=True, slots=True)
class Slide:
    """A joint of a machine's body: `child` lies at `origin_m` of `parent`, moved along `axis` by the joint's position;
    a joint that is fixed has the axis 0, 0, 0."""

    name: str
    parent: str
    child: str
    origin_m: Vector
    axis: Vector


def slides_of(urdf: str) -> tuple[Slide, ...]:
    """The joints of a URDF. Raises ValueError for a text that is none, and for a joint that turns."""
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise ValueError(f"no URDF: {error}") from error
    return tuple(_slide(joint) for joint in root.findall("joint"))


def _slide(joint: ElementTree.Element) -> Slide:
    name, kind = joint.get("name", ""), joint.get("type", "")
    parent, child, origin, axis = (joint.find(tag) for tag in ("parent", "child", "origin", "axis"))
    turned = origin is not None and any(_numbers(origin.get("rpy", "0 0 0")))
    if kind not in ("prismatic", "fixed") or parent is None or child is None or turned:
        raise ValueError(
            f"joint '{name}' is {kind or 'of no type'}; prismatic and fixed ones that do not turn are known"
        )
    along = _numbers(axis.get("xyz", "1 0 0") if axis is not None else "1 0 0") if kind == "prismatic" else ORIGIN
    place = _numbers(origin.get("xyz", "0 0 0")) if origin is not None else ORIGIN
    return Slide(name, parent.get("link", ""), child.get("link", ""), place, along)


def _numbers(text: str) -> Vector:
    x, y, z = map(float, text.split())
    return x, y, z


def body_transforms(machine_id: str, slides: Sequence[Slide], position_m: Vector) -> tuple[Transform, ...]:
    """The links of a machine whose joints <machine>_x, _y, _z are at a measured position [m]; without slides the tool
    alone, in the base. Empty while the position is not measured."""
    if not all(map(math.isfinite, position_m)):
        return ()
    if not slides:
        return (Transform(base_frame(machine_id), tool_frame(machine_id), Pose(position_m)),)
    joints = {f"{machine_id}_{letter}": value for letter, value in zip("xyz", position_m, strict=True)}
    return tuple(Transform(each.parent, each.child, _slid(each, joints.get(each.name, 0.0))) for each in slides)


def _slid(slide: Slide, way_m: float) -> Pose:
    x, y, z = (origin + way_m * along for origin, along in zip(slide.origin_m, slide.axis, strict=True))
    return Pose((x, y, z))
