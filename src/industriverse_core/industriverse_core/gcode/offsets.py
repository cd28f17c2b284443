"""Where the work coordinate systems and the machine's zero are, as far as a program and its machine tell.

The program's frame is the work coordinate system that is in force at its first motion; where the machine's profile says
how far that is from G54, it is G54. What an operator has set at the machine (its zero, other systems, the positions of
G28 and G30) is not in the file: such a position is unknown (NaN) until the program or the profile states it. Everything
here is in millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from industriverse_core.controller import UNKNOWN, WORK_SYSTEMS, Controller
from industriverse_core.telemetry import Vector

PARKS = ("G28", "G30")
ZERO: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Frames:
    """Origins in the program's frame [mm]. Immutable, so that a refused line is undone by keeping the old one.

    Attributes:
        active: the system in force.
        frame: the system of which the origin is the program's frame.
        origins: of each system in the program's frame.
        written: of each system in machine coordinates, as the controller has stored it or G10 L2 says.
        machine: the machine's zero in the program's frame.
        placed: the frame's own origin in machine coordinates, on the axes on which the program itself states it.
        parks: what G28 and G30 go to, in the program's frame, as G28.1 and G30.1 say.
        stored_parks: the same in machine coordinates, as the controller has stored it.
        local: the offset of G92 in force.
        stored_local: the offset that G92.3 brings back; None = none was given in the program.
    """

    active: str = "G54"
    frame: str = "G54"
    origins: dict[str, Vector] = field(default_factory=lambda: {**dict.fromkeys(WORK_SYSTEMS, UNKNOWN), "G54": ZERO})
    written: dict[str, Vector] = field(default_factory=lambda: dict.fromkeys(WORK_SYSTEMS, UNKNOWN))
    machine: Vector = UNKNOWN
    placed: Vector = UNKNOWN
    parks: dict[str, Vector] = field(default_factory=lambda: dict.fromkeys(PARKS, UNKNOWN))
    stored_parks: dict[str, Vector] = field(default_factory=lambda: dict.fromkeys(PARKS, UNKNOWN))
    local: Vector = ZERO
    stored_local: Vector | None = None

    @classmethod
    def at_start(cls, controller: Controller) -> Frames:
        """The frames of a controller with these stored positions."""
        stored = {name: _scaled(origin_m) for name, origin_m in controller.systems_m.items()}
        return cls(
            written={**dict.fromkeys(WORK_SYSTEMS, UNKNOWN), **stored},
            stored_parks={"G28": _scaled(controller.g28_m), "G30": _scaled(controller.g30_m)},
        ).settled()

    @property
    def offset(self) -> Vector:
        """What is added to a written coordinate; NaN where the active system's origin is not known."""
        return _added(self.origins[self.active], self.local)

    def select(self, system: str, has_moved: bool) -> Frames:
        """G54 to G59.3. Before the first motion an unknown system becomes the program's frame."""
        is_unknown = any(map(math.isnan, self.origins[system]))
        frames = self.forgotten(system) if is_unknown and not has_moved else self
        return replace(frames, active=system).settled()

    def set_origin(self, system: str, values: dict[int, float], has_moved: bool) -> Frames:
        """G10 L2: origins in machine coordinates, by axis."""
        origins, written, machine, placed = dict(self.origins), dict(self.written), list(self.machine), self.placed
        for axis, value in values.items():
            written[system] = _with(written[system], axis, value)
            is_frame = not has_moved and system == self.active == self.frame and origins[system][axis] == 0.0
            if math.isnan(machine[axis]) and is_frame:
                machine[axis] = -value  # nothing has moved in it yet: it stays the program's frame
                placed = _with(placed, axis, value)
            else:
                origins[system] = _with(origins[system], axis, machine[axis] + value)
        return replace(self, origins=origins, written=written, machine=_vector(machine), placed=placed).settled()

    def touch_off(self, system: str, values: dict[int, float], position: Vector) -> Frames:
        """G10 L20: origins such that the present position has these coordinates, by axis."""
        origins, written = dict(self.origins), dict(self.written)
        for axis, value in values.items():
            origin = position[axis] - self.local[axis] - value
            origins[system] = _with(origins[system], axis, origin)
            written[system] = _with(written[system], axis, origin - self.machine[axis])
        return replace(self, origins=origins, written=written)

    def set_position(self, values: dict[int, float], position: Vector) -> Frames:
        """G92: the present position gets these coordinates, by axis."""
        local = self.local
        for axis, value in values.items():
            local = _with(local, axis, position[axis] - value - self.origins[self.active][axis])
        return replace(self, local=local, stored_local=local)

    def with_local(self, local: Vector, stored: Vector | None) -> Frames:
        """G92.1 to G92.3."""
        return replace(self, local=local, stored_local=stored)

    def park(self, name: str) -> Vector:
        """What G28 or G30 goes to, in the program's frame; NaN where it is not known."""
        stored = _added(self.machine, self.stored_parks[name])
        x, y, z = (there if math.isnan(here) else here for here, there in zip(self.parks[name], stored, strict=True))
        return x, y, z

    def with_park(self, name: str, position: Vector) -> Frames:
        """G28.1, G30.1."""
        stored = {**self.stored_parks, name: UNKNOWN}
        return replace(self, parks={**self.parks, name: position}, stored_parks=stored)

    def forgotten(self, system: str) -> Frames:
        """The frame's origin moves to a system whose relation to the others is not known."""
        origins = {**dict.fromkeys(WORK_SYSTEMS, UNKNOWN), system: ZERO}
        parks = dict.fromkeys(PARKS, UNKNOWN)
        placed = self.written[system]
        return replace(self, frame=system, origins=origins, machine=UNKNOWN, placed=placed, parks=parks)

    def settled(self) -> Frames:
        """Unknown origins and the machine's zero from what is known on each axis."""
        origins, machine = dict(self.origins), list(self.machine)
        for axis in range(3):
            for name in WORK_SYSTEMS:
                if math.isnan(machine[axis]):
                    machine[axis] = origins[name][axis] - self.written[name][axis]
            for name in WORK_SYSTEMS:
                if math.isnan(origins[name][axis]):
                    origins[name] = _with(origins[name], axis, machine[axis] + self.written[name][axis])
        return replace(self, origins=origins, machine=_vector(machine))


def _scaled(position_m: Vector) -> Vector:
    return _vector([1e3 * value for value in position_m])


def _vector(values: list[float]) -> Vector:
    x, y, z = values
    return x, y, z


def _with(vector: Vector, axis: int, value: float) -> Vector:
    values = list(vector)
    values[axis] = value
    return _vector(values)


def _added(first: Vector, second: Vector) -> Vector:
    return _vector([a + b for a, b in zip(first, second, strict=True)])
