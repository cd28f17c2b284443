"""The machine's body in MuJoCo: it follows the planned motion in fixed steps, and says what it feels and touches.

Its time is the motion clock of the plan: waits, holds and homing take none of it. Every step pulls the axes towards
the plan; between two steps of the plan at which the position jumps (homing, a tool change) the body is set down anew.
What the tool touches does not push it: a contact is a finding, and the tool goes on along its path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Op, Program
from industriverse_core.telemetry import Vector
from twin_node.body.mechanics import mechanics
from twin_node.body.model import cutters, mjcf, obstacles
from twin_node.body.path_kernels import sample_path

STEP_S = 1e-3
INTEGRATOR = "Euler"
CONTACT_M = 5e-5  # what comes nearer to an obstacle than this below its surface has touched it
CLOCK_TOLERANCE_S = 1e-9  # so that rounding does not cost a step
_COLUMNS = ("op", "x_m", "y_m", "z_m", "center_1_m", "center_2_m", "turns", "target")


@dataclass(frozen=True, slots=True)
class Collision:
    """The tool begins to touch something.

    Attributes:
        obstacle: what the profile calls it.
        instruction, line: of the program.
        clock_s: motion clock.
        position_m: of the tool's tip, in program coordinates.
    """

    obstacle: str
    instruction: int
    line: int
    clock_s: float
    position_m: Vector


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the body did over some steps. Vectors are x, y, z; NaN where no step was made.

    Attributes:
        clock_s, instruction: reached.
        position_m, velocity_m_s: of the tool's tip, at the end.
        effort_n: force of the motors on each axis over the last step; weight, friction and inertia.
        peak_effort_n: largest amount of it.
        vibration_m_s2: rms of each axis's acceleration about its mean, up to half the rate of the steps.
        worst_error_m: largest distance from the planned position.
        square_error_m2: sum over the steps of its square.
        collisions: those that began.
        steps, restarts: how many steps, and how often the body was set down on the path.
    """

    clock_s: float
    instruction: int
    position_m: Vector
    velocity_m_s: Vector
    effort_n: Vector
    peak_effort_n: Vector
    vibration_m_s2: Vector
    worst_error_m: float
    square_error_m2: float
    collisions: tuple[Collision, ...]
    steps: int
    restarts: int


@dataclass(frozen=True, slots=True)
class BodyState:
    """All that the future depends on: MuJoCo's integration state, the clock as origin and steps, what is touched."""

    physics: bytes
    origin_s: float
    steps: int
    touching: frozenset[int]


def load_mujoco() -> Any:
    """The library. Raises PredictionError (NO_BODY) where it is not installed."""
    try:
        import mujoco
    except ImportError as error:
        raise PredictionError(
            ErrorCode.NO_BODY, f"the body needs MuJoCo, which cannot be loaded ({error}).", "Install mujoco."
        ) from error
    return mujoco


def load_model(profile: MachineProfile, text: str) -> Any:
    """MuJoCo's model of an MJCF or URDF text. Raises PredictionError (NO_BODY) where it takes none."""
    try:
        return load_mujoco().MjModel.from_xml_string(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise PredictionError(
            ErrorCode.NO_BODY, f"{profile.id} cannot be modelled: {reason}.", "Look at its axes and keep_out boxes."
        ) from error


class Body:
    """One machine.

    Args:
        profile: whose model is built.
        step_s, integrator: MuJoCo's. README.md says by which measurements the defaults were chosen.
    Raises PredictionError (NO_BODY) where MuJoCo is missing or the profile cannot be modelled.
    """

    def __init__(self, profile: MachineProfile, step_s: float = STEP_S, integrator: str = INTEGRATOR) -> None:
        self._mujoco = mujoco = load_mujoco()
        machine = mechanics(profile)
        self._model = load_model(profile, mjcf(profile, step_s, integrator))
        self._data = mujoco.MjData(self._model)
        self.step_s = step_s
        self._order = np.array([self._model.joint(axis.joint).qposadr[0] for axis in machine.axes])
        self._mix = self._motor_directions()
        kp, kv = self._model.actuator_gainprm[:, 0], -self._model.actuator_biasprm[:, 2]
        self._lead_s = kv / kp  # the damper moves with the motor, not with the frame
        weight_n = np.array([axis.weight_n for axis in machine.axes])
        self._sag_m = self._mix @ weight_n / kp  # homing is done under the axes' own weight
        self._tools = {cutter.number: self._model.geom(cutter.name).id for cutter in cutters(profile)}
        self._thickest = self._model.geom(max(cutters(profile), key=lambda cutter: cutter.radius_m).name).id
        self._obstacles = {self._model.geom(name).id: text for name, text in obstacles(profile).items()}
        self._tool_numbers = profile.kind == "mill"
        self._origin_s, self._steps, self._touching = 0.0, 0, frozenset[int]()

    # --- the path ---

    def follow(self, program: Program, plan: MotionPlan, clock_s: float = 0.0) -> None:
        """Follow a program from here on, standing on its path. Raises ValueError for one without instructions."""
        if not len(program):
            raise ValueError("needs a program with instructions")
        self._program, self.plan = program, plan
        self._columns = [
            *(program.columns[name] for name in _COLUMNS), plan.end_s, plan.duration_s, plan.length_m, plan.entry_m_s,
            plan.cruise_m_s, plan.exit_m_s, plan.acceleration_m_s2,
        ]  # fmt: skip
        self._jumps = _jumps(program, plan)
        self._changes = np.flatnonzero(program.columns["op"] == Op.CHANGE_TOOL)
        self.place(clock_s)

    @property
    def clock_s(self) -> float:
        """The motion clock that the body has reached."""
        return self._origin_s + self._steps * self.step_s

    def place(self, clock_s: float) -> None:
        """Set the body down where and as fast as the plan says. Raises ValueError for a time that is not finite."""
        if not math.isfinite(clock_s):
            raise ValueError("needs a finite time")
        self._origin_s, self._steps, self._touching = clock_s, 0, frozenset()
        position, velocity, _ = self._sample(1)
        self._mujoco.mj_resetData(self._model, self._data)
        self._set_down(position[0], velocity[0])

    def steps_to(self, clock_s: float) -> int:
        """Whole steps until a time; less than 0 where it lies behind."""
        return math.floor((clock_s - self.clock_s + CLOCK_TOLERANCE_S) / self.step_s)

    # --- moving ---

    def advance(self, steps: int) -> Stretch:
        """Make so many steps along the path."""
        if steps <= 0:
            return self._at_rest()
        position, velocity, instruction = self._sample(steps + 1)
        control = self._control(position[:-1], velocity[:-1])
        crossed = np.searchsorted(self._jumps, instruction, side="right")
        restarts = set((np.flatnonzero(np.diff(crossed)) + 1).tolist())  # rows before which the plan's place jumps
        felt = np.empty((4, steps, 3))  # place, speed, force and acceleration, in the model's order of axes
        collisions: list[Collision] = []
        begin = 0
        for row in sorted({*restarts, steps}):
            self._run(control, felt, collisions, instruction, begin, row)
            if row in restarts:
                self._set_down(position[row], velocity[row])
                felt[0, row - 1], felt[1, row - 1] = self._data.qpos, self._data.qvel
            begin = row
        self._steps += steps
        return self._stretch(felt[:, :, self._order], position[1:], int(instruction[-1]), collisions, len(restarts))

    def _run(
        self, control: np.ndarray, felt: np.ndarray, collisions: list[Collision], instruction: np.ndarray,
        begin: int, end: int,
    ) -> None:  # fmt: skip
        """The hot loop: one call of MuJoCo for each step."""
        model, data, step = self._model, self._data, self._mujoco.mj_step
        motors, place, speed, force, acceleration = data.ctrl, data.qpos, data.qvel, data.qfrc_actuator, data.qacc
        places, speeds, forces, accelerations = felt
        for row in range(begin, end):
            motors[:] = control[row]
            step(model, data)
            if data.ncon or self._touching:
                self._touch(int(instruction[row]), row, collisions)
            places[row] = place
            speeds[row] = speed
            forces[row] = force
            accelerations[row] = acceleration

    def _touch(self, instruction: int, row: int, collisions: list[Collision]) -> None:
        """Note which obstacles the loaded tool has begun to touch, and which it has left."""
        contacts, tool = self._data.contact, self._loaded(instruction)
        touched = set()
        for number in range(self._data.ncon):
            pair = contacts.geom[number].tolist()
            if tool in pair and contacts.dist[number] < -CONTACT_M:
                touched.add(pair[0] if pair[1] == tool else pair[1])
        for obstacle in sorted(touched - self._touching):
            x, y, z = self._data.qpos[self._order].tolist()
            line, clock_s = (
                int(self._program.columns["line"][instruction]),
                self._origin_s + (self._steps + row) * self.step_s,
            )
            collisions.append(Collision(self._obstacles[obstacle], instruction, line, clock_s, (x, y, z)))
        self._touching = frozenset(touched)

    # --- state ---

    def save(self) -> BodyState:
        """The state, to go on from later or in another process."""
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self._mujoco.mj_stateSize(self._model, kind))
        self._mujoco.mj_getState(self._model, self._data, state, kind)
        return BodyState(state.tobytes(), self._origin_s, self._steps, self._touching)

    def restore(self, state: BodyState) -> None:
        """Go on from a saved state of the same machine; `follow` says along which program.

        Raises ValueError for a state of another size.
        """
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.frombuffer(state.physics)
        if len(physics) != self._mujoco.mj_stateSize(self._model, kind):
            raise ValueError("needs a state of the same model")
        self._mujoco.mj_setState(self._model, self._data, physics, kind)
        self._origin_s, self._steps, self._touching = state.origin_s, state.steps, state.touching

    # --- inside ---

    def _motor_directions(self) -> np.ndarray:
        """(motors, 3): by how much each motor's place changes with x, y and z."""
        directions = np.empty((self._model.nu, 3))
        for axis, address in enumerate(self._order):
            self._data.qpos[:] = 0.0
            self._data.qpos[address] = 1.0
            self._mujoco.mj_forward(self._model, self._data)
            directions[:, axis] = self._data.actuator_length
        return directions

    def _control(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Places of the motors, (steps, motors) [m]; by element, so that no step's bits depend on the others."""
        places = np.zeros((len(position), len(self._mix))) + self._sag_m
        for axis in range(3):
            share = self._mix[:, axis]
            places += position[:, axis, None] * share + velocity[:, axis, None] * (share * self._lead_s)
        return places

    def _sample(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The plan at so many steps from now: (count, 3) [m], (count, 3) [m/s], (count,)."""
        position, velocity = np.empty((count, 3)), np.empty((count, 3))
        instruction = np.empty(count, np.int64)
        index = min(int(np.searchsorted(self.plan.end_s, self.clock_s)), len(self._program) - 1)
        sample_path(*self._columns, index, self._origin_s, self._steps, self.step_s, position, velocity, instruction)
        return position, velocity, instruction

    def _set_down(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """On a place of the path, at its speed."""
        data = self._data
        data.qpos[self._order], data.qvel[self._order] = position, velocity
        data.qacc_warmstart[:] = 0.0

    def _loaded(self, instruction: int) -> int:
        """Geometry of the tool that was called last; of the thickest one where that is not of the magazine."""
        if not self._tool_numbers:
            return self._thickest
        found = int(np.searchsorted(self._changes, instruction, side="right"))
        number = int(self._program.columns["target"][self._changes[found - 1]]) if found else -1
        return self._tools.get(number, self._thickest)

    def _stretch(
        self, felt: np.ndarray, planned: np.ndarray, instruction: int, collisions: list[Collision], restarts: int
    ) -> Stretch:
        places, speeds, forces, accelerations = felt
        square = np.square(places - planned).sum(axis=1)
        return Stretch(
            clock_s=self.clock_s,
            instruction=instruction,
            position_m=vector(places[-1]),
            velocity_m_s=vector(speeds[-1]),
            effort_n=vector(forces[-1]),
            peak_effort_n=vector(np.abs(forces).max(axis=0)),
            vibration_m_s2=vector(accelerations.std(axis=0)),
            worst_error_m=math.sqrt(float(square.max())),
            square_error_m2=float(square.sum()),
            collisions=tuple(collisions),
            steps=len(places),
            restarts=restarts,
        )

    def _at_rest(self) -> Stretch:
        """The present state, without a step."""
        unknown, data = (math.nan, math.nan, math.nan), self._data
        _, _, instruction = self._sample(1)
        return Stretch(
            self.clock_s, int(instruction[0]), vector(data.qpos[self._order]), vector(data.qvel[self._order]),
            unknown, unknown, unknown, math.nan, 0.0, (), 0, 0,
        )  # fmt: skip


def _jumps(program: Program, plan: MotionPlan) -> np.ndarray:
    """Instructions at which the place changes without a move: homing, mostly."""
    still = np.flatnonzero(~(program.is_motion() & (plan.length_m > 0.0)))
    moved = np.zeros(len(still), bool)
    for name in ("x_m", "y_m", "z_m"):
        column = program.columns[name]
        moved |= column[still] != np.where(still > 0, column[still - 1], 0.0)
    return still[moved]


def vector(values: np.ndarray) -> Vector:
    """x, y, z as numbers."""
    x, y, z = values.tolist()
    return x, y, z
