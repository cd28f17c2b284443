"""What the rules look at: a program on a machine, and arrays derived from it, each computed once when first used.

Arrays have one entry an instruction, (n,) or (n, 3), in SI units. Columns may hold anything (NaN, infinity,
huge numbers); derived arrays then hold NaN or infinity in those places, and rules compare so that these refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from industriverse_core.machine import Box, MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Heater, Op, Plane, Program
from industriverse_core.units import filament_area_m2
from shield_node.gates import cutting, deposit

PLANE_AXES = {Plane.XY: (0, 1, 2), Plane.ZX: (2, 0, 1), Plane.YZ: (1, 2, 0)}  # first, second, normal
FULL_TURN = 2.0 * np.pi
SAME_POINT_RAD = 1e-9  # an arc that ends where it began sweeps a whole turn


@dataclass(frozen=True)
class Arcs:
    """The arcs of a program, one entry an arc. Angles in the plane, radius at the start and at the end."""

    where: np.ndarray  # instruction indices
    plane: np.ndarray
    first: np.ndarray  # axis index of the plane's first axis
    second: np.ndarray
    normal: np.ndarray
    start_radius_m: np.ndarray
    end_radius_m: np.ndarray
    start_angle: np.ndarray
    sweep: np.ndarray  # signed, whole turns included


@dataclass(frozen=True)
class HeaterState:
    """One heater after each instruction."""

    target_c: np.ndarray  # what was commanded; 0 = off
    assured_c: np.ndarray  # what the program waited for, lowered by every lower command since
    set_at: np.ndarray  # instruction of the last command; -1 = none


@dataclass(frozen=True)
class Context:
    """A program, the machine, the material (None = not known), the stock (None = the profile's, if it has one)."""

    program: Program
    profile: MachineProfile
    material: Material | None = None
    stock: Box | None = None

    def is_op(self, *ops: Op) -> np.ndarray:
        """Mask of the instructions with one of these operations."""
        return np.isin(self.program.op, [int(op) for op in ops])

    def last(self, mask: np.ndarray) -> np.ndarray:
        """Index of the last instruction up to and including each where the mask holds; -1 = none yet."""
        return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1)) if len(mask) else np.zeros(0, int)

    def before(self, state: np.ndarray, initial: float) -> np.ndarray:
        """A state after each instruction as the state before each."""
        return np.concatenate([np.array([initial], dtype=state.dtype), state[:-1]]) if len(state) else state

    # --- geometry ---

    @cached_property
    def is_motion(self) -> np.ndarray:
        """Moves of an axis or the filament."""
        return self.program.is_motion()

    @cached_property
    def is_feed(self) -> np.ndarray:
        """Moves at a commanded feed."""
        return self.is_op(Op.STRAIGHT_FEED, Op.ARC_FEED)

    @cached_property
    def starts_m(self) -> np.ndarray:
        """(n, 3) start points."""
        return self.program.starts_m()

    @cached_property
    def ends_m(self) -> np.ndarray:
        """(n, 3) end points."""
        return self.program.positions_m()

    @cached_property
    def travel_m(self) -> np.ndarray:
        """(n, 3) displacement of each axis from start to end; 0 for what is no motion."""
        return np.where(self.is_motion[:, None], self.ends_m - self.starts_m, 0.0)

    @cached_property
    def arcs(self) -> Arcs:
        """The arcs, with their swept angles."""
        program = self.program
        where = np.flatnonzero(self.is_op(Op.ARC_FEED))
        plane = np.where(np.isin(program.target[where], list(PLANE_AXES)), program.target[where], Plane.XY)
        table = np.array([PLANE_AXES[plane] for plane in Plane])
        first, second, normal = table[plane].T
        start_1 = self.starts_m[where, first] - program.center_1_m[where]
        start_2 = self.starts_m[where, second] - program.center_2_m[where]
        end_1 = self.ends_m[where, first] - program.center_1_m[where]
        end_2 = self.ends_m[where, second] - program.center_2_m[where]
        start_angle, end_angle = np.arctan2(start_2, start_1), np.arctan2(end_2, end_1)
        turns = program.turns[where].astype(float)
        sense = np.where(turns < 0, -1.0, 1.0)
        part = np.mod(sense * (end_angle - start_angle), FULL_TURN)
        part = np.where((part < SAME_POINT_RAD) | (part > FULL_TURN - SAME_POINT_RAD), FULL_TURN, part)
        sweep = sense * (part + FULL_TURN * np.maximum(np.abs(turns) - 1.0, 0.0))
        return Arcs(
            where, plane, first, second, normal,
            np.hypot(start_1, start_2), np.hypot(end_1, end_2), start_angle, sweep,
        )  # fmt: skip

    @cached_property
    def arc_table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arcs for compiled loops.

        Frames (m, 5): centre on the plane's axes, radius, start angle, sweep; axes (m, 3): first, second, normal;
        and the row of each instruction in them, (n,), -1 = no arc.
        """
        arcs, program = self.arcs, self.program
        radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
        centre = program.center_1_m[arcs.where], program.center_2_m[arcs.where]
        slot = np.full(len(program), -1)
        slot[arcs.where] = np.arange(len(arcs.where))
        frames = np.column_stack([*centre, radius, arcs.start_angle, arcs.sweep])
        return frames, np.column_stack([arcs.first, arcs.second, arcs.normal]), slot

    @cached_property
    def length_m(self) -> np.ndarray:
        """(n,) path length of the axes; arcs and helices along the curve."""
        length = np.sqrt(np.sum(self.travel_m**2, axis=1))
        arcs = self.arcs
        radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
        length[arcs.where] = np.hypot(radius * arcs.sweep, self.travel_m[arcs.where, arcs.normal])
        return length

    @cached_property
    def lowest_m(self) -> np.ndarray:
        """(n, 3) lowest coordinate that each motion reaches."""
        return self._bounds[0]

    @cached_property
    def highest_m(self) -> np.ndarray:
        """(n, 3) highest coordinate that each motion reaches."""
        return self._bounds[1]

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """End points, and the points of each arc where one coordinate turns round. The start is another's end."""
        low, high = self.ends_m.copy(), self.ends_m.copy()
        arcs = self.arcs
        radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
        centre = np.column_stack([self.program.center_1_m[arcs.where], self.program.center_2_m[arcs.where]])
        for quarter in range(4):  # +first, +second, -first, -second
            angle = quarter * np.pi / 2.0
            distance = np.mod(np.sign(arcs.sweep) * (angle - arcs.start_angle), FULL_TURN)
            swept = ~(distance > np.abs(arcs.sweep))  # NaN counts as swept
            axis = arcs.first if quarter % 2 == 0 else arcs.second
            sign = 1.0 if quarter < 2 else -1.0
            extreme = (centre[:, quarter % 2] + sign * radius)[swept]
            rows, columns = arcs.where[swept], axis[swept]
            if sign > 0:
                high[rows, columns] = np.maximum(high[rows, columns], extreme)
            else:
                low[rows, columns] = np.minimum(low[rows, columns], extreme)
        return low, high

    # --- tool ---

    @cached_property
    def tool_number(self) -> np.ndarray:
        """(n,) number of the tool that was called last; -1 before the first."""
        last = self.last(self.is_op(Op.CHANGE_TOOL))
        return np.where(last >= 0, self.program.target[last], -1) if len(last) else np.zeros(0, int)

    @cached_property
    def tool_radius_m(self) -> np.ndarray:
        """(n,) radius of a mill's tool; of the thickest one while none of the magazine is named. 0 for a printer."""
        tools = self.profile.tools if self.profile.kind == "mill" else ()
        radius = np.full(len(self.program), max((tool.diameter / 2.0 for tool in tools), default=0.0))
        for tool in tools:
            radius[self.tool_number == tool.number] = tool.diameter / 2.0
        return radius

    @cached_property
    def cutting(self) -> cutting.Cutting:
        """What each move cuts from the stock."""
        return cutting.follow(self)

    # --- speed and filament ---

    @cached_property
    def filament_area_m2(self) -> float:
        """Cross-section of the filament, as the machine feeds it."""
        extruder = self.profile.extruder
        return filament_area_m2(extruder.filament_diameter if extruder else self.program.metadata.filament_diameter_m)

    @cached_property
    def extrude_m3(self) -> np.ndarray:
        """(n,) filament volume fed; 0 for what is no motion."""
        return np.where(self.is_motion, self.program.extrude_m3, 0.0)

    @cached_property
    def fresh_m3(self) -> np.ndarray:
        """(n,) filament beyond what had been fed before: what reaches the nozzle. Refilling a retraction is none."""
        finite = np.where(np.isfinite(self.extrude_m3), self.extrude_m3, 0.0)
        furthest = np.maximum.accumulate(np.maximum(np.cumsum(finite), 0.0)) if len(finite) else finite
        return np.diff(furthest, prepend=0.0)

    @cached_property
    def retracted_m3(self) -> np.ndarray:
        """(n,) how far the filament is drawn back after each instruction."""
        finite = np.where(np.isfinite(self.extrude_m3), self.extrude_m3, 0.0)
        fed = np.cumsum(finite)
        return np.maximum.accumulate(np.maximum(fed, 0.0)) - fed if len(fed) else fed

    @cached_property
    def deposit(self) -> deposit.Deposit:
        """What each move lays down on the bed."""
        return deposit.follow(self)

    @cached_property
    def is_travelling(self) -> np.ndarray:
        """Motions along which an axis moves."""
        return self.is_motion & (self.length_m > 0.0)

    @cached_property
    def is_printing(self) -> np.ndarray:
        """Motions that push filament."""
        return self.extrude_m3 > 0.0

    @cached_property
    def asked_speed_m_s(self) -> np.ndarray:
        """(n,) path speed asked for (of the filament where no axis moves); a rapid's where none is given."""
        feed = self.program.feed_m_s
        rapid = self.is_op(Op.STRAIGHT_TRAVERSE) & np.isnan(feed)
        return np.where(rapid, self.profile.kinematics.rapid_speed, feed)

    @cached_property
    def allowed_speed_m_s(self) -> np.ndarray:
        """(n,) path speed at which the first axis, or the filament, reaches the machine's limit."""
        extruder = self.profile.extruder
        filament_m = np.abs(self.extrude_m3) / self.filament_area_m2
        along = self.is_travelling
        path = np.where(along, self.length_m, filament_m)
        limit = np.full(len(self.program), np.inf)
        for axis, spec in enumerate(self.profile.kinematics.axes()):
            share = np.abs(self.travel_m[:, axis]) / path
            limit = np.where(share > 0.0, np.minimum(limit, spec.max_speed / share), limit)
        arcs = self.arcs  # along an arc both axes of the plane take the whole speed in turn
        speeds = np.array([spec.max_speed for spec in self.profile.kinematics.axes()])
        limit[arcs.where] = np.minimum(limit[arcs.where], np.minimum(speeds[arcs.first], speeds[arcs.second]))
        if extruder is not None:
            share = filament_m / path
            limit = np.where(share > 0.0, np.minimum(limit, extruder.max_speed / share), limit)
        return limit

    @cached_property
    def least_time_s(self) -> np.ndarray:
        """(n,) shortest time of each motion: at the asked speed, as far as the machine allows, without ramps."""
        speed = np.minimum(self.asked_speed_m_s, self.allowed_speed_m_s)
        path = np.where(self.is_travelling, self.length_m, np.abs(self.extrude_m3) / self.filament_area_m2)
        return np.where(self.is_motion & (path > 0.0), path / speed, 0.0)

    # --- heaters ---

    def heater(self, heater: Heater) -> HeaterState:
        """The state of one heater after each instruction."""
        if heater is Heater.HOTEND:
            return self._hotend
        return self._bed if heater is Heater.BED else self._heater_state(heater)

    @cached_property
    def _hotend(self) -> HeaterState:
        return self._heater_state(Heater.HOTEND)

    @cached_property
    def _bed(self) -> HeaterState:
        return self._heater_state(Heater.BED)

    def _heater_state(self, heater: Heater) -> HeaterState:
        program = self.program
        mine = self.is_op(Op.SET_HEATER, Op.WAIT_HEATER) & (program.target == heater)
        events = np.flatnonzero(mine)
        targets = program.value[events]
        assured = np.zeros(len(events))
        level = 0.0
        waits = program.op[events] == Op.WAIT_HEATER
        for index, (target, waited) in enumerate(zip(targets.tolist(), waits.tolist(), strict=True)):
            level = target if waited else min(target, level)
            assured[index] = level
        at = self.last(mine)
        slot = np.searchsorted(events, at)  # events are found exactly; -1 gives 0 and is masked
        known = at >= 0
        if not len(events):
            return HeaterState(np.zeros(len(program)), np.zeros(len(program)), at)
        return HeaterState(np.where(known, targets[slot], 0.0), np.where(known, assured[slot], 0.0), at)
