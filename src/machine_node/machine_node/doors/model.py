"""What the doors show of a cell: the last thing heard of each machine, bounded in size. No ROS, no clock, no sockets.

`CellModel` is fed by one thread; `view` gives an immutable picture that any thread may keep.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from industriverse_core.machine import MachineProfile
from industriverse_core.states import JobStage, Safety
from industriverse_core.telemetry import MachineState, ResidualSample, TelemetrySample, Trace

SILENT_AFTER_S = 1.0  # telemetry comes at 20 Hz, the rest at 10 Hz: what is older is not shown as if it were so now
MAX_MACHINES = 64
MAX_TEXT = 256  # characters of a text that came over the network
MAX_STOPS = 16  # remembered of one machine
MAX_JOINTS = 16


@dataclass(frozen=True, slots=True)
class SafetyView:
    """What the shield says of one machine. Fields as in SafetyState.msg."""

    stamp_s: float
    state: Safety
    level: int
    latch_id: int
    error_code: int
    error_msg: str
    permits_issued: int


@dataclass(frozen=True, slots=True)
class JobView:
    """The job that was last heard of on one machine. Fields as in JobState.msg."""

    job_id: str
    state: JobStage
    program_name: str
    intent: str
    progress: float
    error_code: int
    error_msg: str


@dataclass(frozen=True, slots=True)
class PowerView:
    """The power meter's last reading. Unmeasured is NaN. Fields as in PowerReading.msg."""

    stamp_s: float
    voltage_v: float
    current_a: float
    power_w: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class JointView:
    """The last joint state: names and positions [m or rad] of the same length."""

    stamp_s: float
    names: tuple[str, ...]
    positions: tuple[float, ...]
    velocities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StopView:
    """Why a machine was stopped."""

    stamp_s: float  # ROS time at which the latch or the fault was first heard of
    latch_id: int  # 0 = a fault without a latch
    code: int
    cause: str


@dataclass(frozen=True, slots=True)
class MachineView:
    """One machine as it was last heard; None = never, or too long ago. `heard_s` is steady time, NaN = never."""

    profile: MachineProfile
    online: bool = False
    heard_s: float = math.nan
    sample: TelemetrySample | None = None
    residual: ResidualSample | None = None
    trace: Trace | None = None
    safety: SafetyView | None = None
    job: JobView | None = None
    power: PowerView | None = None
    joints: JointView | None = None
    stops: tuple[StopView, ...] = ()  # oldest first

    @property
    def machine_id(self) -> str:
        """The machine's id."""
        return self.profile.id

    @property
    def state(self) -> MachineState:
        """What the machine does; DISCONNECTED when nothing is heard of it."""
        return self.sample.state if self.online and self.sample is not None else MachineState.DISCONNECTED

    @property
    def last_stop(self) -> StopView | None:
        """The newest cause of a stop, also after it was cleared."""
        return self.stops[-1] if self.stops else None

    @property
    def alarm(self) -> StopView | None:
        """What is wrong now: a latched stop or a fault of the controller; None = nothing."""
        return self.last_stop if self.state in (MachineState.LATCHED, MachineState.FAULT) else None


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell at one moment."""

    cell: str
    machines: tuple[MachineView, ...]


@dataclass(slots=True)
class _Heard:
    """What was last heard of one machine."""

    view: MachineView
    at_s: dict[str, float] = field(default_factory=dict)  # steady time of what comes periodically, by field
    stops: deque[StopView] = field(default_factory=lambda: deque(maxlen=MAX_STOPS))


class CellModel:
    """The cell as the doors know it. Samples of machines that it was not given are not kept.

    Args:
        cell: name of the cell.
        profiles: its machines, at most MAX_MACHINES, each id once.
    Raises ValueError for more machines or an id that is there twice.
    """

    def __init__(self, cell: str, profiles: Sequence[MachineProfile]) -> None:
        if len({profile.id for profile in profiles}) < len(profiles) or not 0 < len(profiles) <= MAX_MACHINES:
            raise ValueError(f"1 to {MAX_MACHINES} machines with different ids are possible, not {len(profiles)}")
        self.cell = clipped(cell)
        self.profiles = tuple(profiles)
        self._heard = {profile.id: _Heard(MachineView(profile)) for profile in profiles}

    def observe_telemetry(self, sample: TelemetrySample, steady_s: float) -> None:
        """A sample of a machine, received at `steady_s`."""
        sample = replace(sample, error_msg=clipped(sample.error_msg), job_id=clipped(sample.job_id))
        self._keep(sample.machine_id, sample=sample, heard_s=steady_s)
        if sample.state in (MachineState.LATCHED, MachineState.FAULT):
            self._note_stop(
                sample.machine_id, StopView(sample.stamp_s, sample.latch_id, sample.error_code, sample.error_msg)
            )

    def observe_residual(self, sample: ResidualSample, steady_s: float) -> None:
        """The twin's comparison."""
        self._keep_for_now(sample.machine_id, steady_s, residual=replace(sample, job_id=clipped(sample.job_id)))

    def observe_trace(self, trace: Trace) -> None:
        """How far the machine is in its program; said when it changes."""
        self._keep(trace.machine_id, trace=replace(trace, job_id=clipped(trace.job_id)))

    def observe_safety(self, machine_id: str, safety: SafetyView, steady_s: float) -> None:
        """What the shield allows."""
        safety = replace(safety, error_msg=clipped(safety.error_msg))
        self._keep_for_now(machine_id, steady_s, safety=safety)
        if safety.state is Safety.LATCHED:
            self._note_stop(machine_id, StopView(safety.stamp_s, safety.latch_id, safety.error_code, safety.error_msg))

    def observe_job(self, machine_id: str, job: JobView) -> None:
        """How far a job is; the last word on a job stays true."""
        texts = {name: clipped(getattr(job, name)) for name in ("job_id", "program_name", "intent", "error_msg")}
        self._keep(machine_id, job=replace(job, **texts))

    def observe_power(self, machine_id: str, power: PowerView, steady_s: float) -> None:
        """A reading of the power meter."""
        self._keep_for_now(machine_id, steady_s, power=power)

    def observe_joints(self, machine_id: str, joints: JointView, steady_s: float) -> None:
        """Positions of the axes. Arrays that do not belong together are not kept."""
        count = len(joints.names)
        if count > MAX_JOINTS or len(joints.positions) != count or len(joints.velocities) not in (0, count):
            return
        names = tuple(clipped(name) for name in joints.names)
        self._keep_for_now(machine_id, steady_s, joints=replace(joints, names=names))

    def view(self, steady_s: float) -> CellView:
        """The cell as it is known at `steady_s`."""
        return CellView(self.cell, tuple(self.machine(profile.id, steady_s) for profile in self.profiles))

    def machine(self, machine_id: str, steady_s: float) -> MachineView:
        """One machine as it is known at `steady_s`. Raises KeyError for one that the model was not given."""
        heard = self._heard[machine_id]
        online = steady_s - heard.view.heard_s <= SILENT_AFTER_S  # never heard: NaN, which compares false
        old: dict[str, Any] = {name: None for name, at_s in heard.at_s.items() if steady_s - at_s > SILENT_AFTER_S}
        if not online:
            old["trace"] = None
        return replace(heard.view, online=online, stops=tuple(heard.stops), **old)

    def _keep_for_now(self, machine_id: str, steady_s: float, **values: Any) -> None:
        """Keep what was heard, until it is SILENT_AFTER_S old."""
        if machine_id in self._heard:
            self._heard[machine_id].at_s |= dict.fromkeys(values, steady_s)
            self._keep(machine_id, **values)

    def _keep(self, machine_id: str, **values: Any) -> None:
        heard = self._heard.get(machine_id)
        if heard is not None:
            heard.view = replace(heard.view, **values)

    def _note_stop(self, machine_id: str, stop: StopView) -> None:
        """Shield and machine tell the same stop: the first word is kept, an empty cause is filled in later."""
        heard = self._heard.get(machine_id)
        if heard is None:
            return
        last = heard.stops[-1] if heard.stops else None
        if last is None or (last.latch_id, last.code) != (stop.latch_id, stop.code):
            heard.stops.append(stop)
        elif not last.cause:
            heard.stops[-1] = replace(last, cause=stop.cause)


def clipped(text: str) -> str:
    """A text from the network, not longer than MAX_TEXT and without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
