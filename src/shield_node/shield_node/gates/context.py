"""What the rules look at: a program on a machine, and arrays derived from it, each computed once when first used.

Arrays have one entry an instruction, (n,), in SI units; what has three axes is a tuple of three arrays. Columns may
hold anything (NaN, infinity, huge numbers); derived arrays then hold NaN or infinity in those places, and rules compare
so that these refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from industriverse_core.machine import Box, MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Heater, Op, Plane, Program
from industriverse_core.units import filament_area_m2
from shield_node.gates import columns, cutting, deposit

PLANE_AXES = {Plane.XY: (0, 1, 2), Plane.ZX: (2, 0, 1), Plane.YZ: (1, 2, 0)}  # first, second, normal
Axes = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z
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
        wanted = np.zeros(256, bool)
        wanted[[int(op) for op in ops]] = True
        return wanted[self.program.op]

    def last(self, mask: np.ndarray) -> np.ndarray:
        """Index of the last instruction up to and including each where the mask holds; -1 = none yet."""
        return columns.last_where(mask)

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
    def starts_m(self) -> Axes:
        """Start points."""
        x, y, z = (self.before(column, 0.0) for column in self.ends_m)
        return x, y, z

    @property
    def ends_m(self) -> Axes:
        """End points."""
        return self.program.x_m, self.program.y_m, self.program.z_m

    @cached_property
    def travel_m(self) -> Axes:
        """Displacement of each axis from start to end; 0 for what is no motion."""
        pairs = zip(self.ends_m, self.starts_m, strict=True)
        x, y, z = (np.where(self.is_motion, end - start, 0.0) for end, start in pairs)
        return x, y, z

    @cached_property
    def _straight(self) -> tuple[np.ndarray, np.ndarray]:
        return columns.straight(self.is_motion, *self.ends_m)

    def is_moving(self, axis: int) -> np.ndarray:
        """Mask of the motions along which an axis moves, also to a number that is none; arcs move their plane's."""
        moves = (self._straight[1] & (1 << axis)) != 0
        moves[self.arcs.where[(self.arcs.first == axis) | (self.arcs.second == axis)]] = True
        return moves

    @cached_property
    def arcs(self) -> Arcs:
        """The arcs, with their swept angles."""
        program = self.program
        where = np.flatnonzero(self.is_op(Op.ARC_FEED))
        plane = np.where(np.isin(program.target[where], list(PLANE_AXES)), program.target[where], Plane.XY)
        table = np.array([PLANE_AXES[plane] for plane in Plane])
        first, second, normal = table[plane].T
        ends = np.stack([column[where] for column in self.ends_m])
        starts = np.stack([np.where(where > 0, column[where - 1], 0.0) for column in self.ends_m])
        each = np.arange(len(where))
        start_1, start_2 = (
            starts[first, each] - program.center_1_m[where],
            starts[second, each] - program.center_2_m[where],
        )
        end_1, end_2 = ends[first, each] - program.center_1_m[where], ends[second, each] - program.center_2_m[where]
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
        and the row of each instruction in them, (n,), -1 = no arc; empty where the program has none.
        """
        arcs, program = self.arcs, self.program
        radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
        centre = program.center_1_m[arcs.where], program.center_2_m[arcs.where]
        slot = np.full(len(program) if len(arcs.where) else 0, -1)
        slot[arcs.where] = np.arange(len(arcs.where))
        frames = np.column_stack([*centre, radius, arcs.start_angle, arcs.sweep])
        return frames, np.column_stack([arcs.first, arcs.second, arcs.normal]), slot

    @cached_property
    def length_m(self) -> np.ndarray:
        """(n,) path length of the axes; arcs and helices along the curve."""
        length, arcs = self._straight[0], self.arcs
        if len(arcs.where):
            length, radius = length.copy(), np.maximum(arcs.start_radius_m, arcs.end_radius_m)
            rise = np.stack([column[arcs.where] for column in self.travel_m])[arcs.normal, np.arange(len(arcs.where))]
            length[arcs.where] = np.hypot(radius * arcs.sweep, rise)
        return length

    @cached_property
    def lowest_m(self) -> Axes:
        """Lowest coordinate that each motion reaches."""
        return self._bounds[0]

    @cached_property
    def highest_m(self) -> Axes:
        """Highest coordinate that each motion reaches."""
        return self._bounds[1]

    @cached_property
    def _bounds(self) -> tuple[Axes, Axes]:
        """End points, and the points of each arc where one coordinate turns round. The start is another's end."""
        arcs = self.arcs
        if not len(arcs.where):
            return self.ends_m, self.ends_m
        low = high = np.stack([column[arcs.where] for column in self.ends_m])
        low, high = low.copy(), high.copy()
        radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
        centre = np.column_stack([self.program.center_1_m[arcs.where], self.program.center_2_m[arcs.where]])
        for quarter in range(4):  # +first, +second, -first, -second
            angle = quarter * np.pi / 2.0
            distance = np.mod(np.sign(arcs.sweep) * (angle - arcs.start_angle), FULL_TURN)
            swept = ~(distance > np.abs(arcs.sweep))  # NaN counts as swept
            axis = arcs.first if quarter % 2 == 0 else arcs.second
            sign = 1.0 if quarter < 2 else -1.0
            extreme = (centre[:, quarter % 2] + sign * radius)[swept]
            place = axis[swept], np.flatnonzero(swept)
            if sign > 0:
                high[place] = np.maximum(high[place], extreme)
            else:
                low[place] = np.minimum(low[place], extreme)
        return self._with_arcs(low), self._with_arcs(high)

    def _with_arcs(self, values: np.ndarray) -> Axes:
        """The end points, with others for the arcs, (3, m)."""
        x, y, z = (column.copy() for column in self.ends_m)
        x[self.arcs.where], y[self.arcs.where], z[self.arcs.where] = values
        return x, y, z

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
    def tool_offset_m(self) -> np.ndarray:
        """(n,) length offset in force after each instruction: from the tip up to the spindle; empty = none ever."""
        where = self.is_op(Op.USE_TOOL_LENGTH_OFFSET)
        if not where.any():
            return np.zeros(0)
        last = self.last(where)
        return np.where(last >= 0, self.program.value[last], 0.0)

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
    def _filament(self) -> tuple[np.ndarray, np.ndarray]:
        return columns.feed_filament(self.extrude_m3)

    @property
    def fresh_m3(self) -> np.ndarray:
        """(n,) filament beyond what had been fed before: what reaches the nozzle. Refilling a retraction is none."""
        return self._filament[0]

    @property
    def retracted_m3(self) -> np.ndarray:
        """(n,) how far the filament is drawn back after each instruction."""
        return self._filament[1]

    @cached_property
    def filament_m(self) -> np.ndarray:
        """(n,) length of filament that each motion feeds or draws back."""
        return np.abs(self.extrude_m3) / self.filament_area_m2

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
        extruder, arcs = self.profile.extruder, self.arcs
        speeds = np.array([spec.max_speed for spec in self.profile.kinematics.axes()])
        limits = np.append(speeds, extruder.max_speed if extruder is not None else np.inf)
        limit = columns.allowed_speed(self.is_motion, *self.ends_m, self.length_m, self.filament_m, limits)
        # along an arc both axes of the plane take the whole speed in turn
        limit[arcs.where] = np.minimum(limit[arcs.where], np.minimum(speeds[arcs.first], speeds[arcs.second]))
        return limit

    @cached_property
    def least_time_s(self) -> np.ndarray:
        """(n,) shortest time of each motion: at the asked speed, as far as the machine allows, without ramps."""
        speed = np.minimum(self.asked_speed_m_s, self.allowed_speed_m_s)
        path = np.where(self.is_travelling, self.length_m, self.filament_m)
        return np.where(self.is_motion & (path > 0.0), path / speed, 0.0)

    @cached_property
    def waiting_s(self) -> np.ndarray:
        """(n,) how long each instruction lets the machine stand, where the program says it: dwells and timed stops."""
        return np.where(self.is_op(Op.DWELL, Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP), self.program.value, 0.0)

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
        waits = self.is_op(Op.WAIT_HEATER)
        mine = (self.is_op(Op.SET_HEATER) | waits) & (self.program.target == heater)
        return HeaterState(*columns.heater_state(mine, waits, self.program.value))

    def forget(self) -> None:
        """Drop what is long and only one module of rules looks at; it is computed again if another one does."""
        for name in ("_hotend", "_bed", "deposit"):
            vars(self).pop(name, None)
