"""A virtual printer, its real driver and stream, its sensors and its twin, in one thread and without a wall clock.

Everything is the product's own but the cable (two byte queues), the clock (a number that `run` moves) and the worker's
thread, whose turn is `_turn`. Permits are not part of it: nothing is ever withheld. Steady time is physics time over
SPEED, as beside a virtual machine at that speed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Op, Program
from industriverse_core.telemetry import (
    MachineState,
    PowerSample,
    ResidualSample,
    TelemetrySample,
    VibrationAxis,
    VibrationSample,
)
from machine_node.execution import Execution
from machine_node.families import family_of
from machine_node.meter import MeterReading, parse_reading
from machine_node.preparation import prepare
from machine_node.streaming.pieces import Kind
from machine_node.vibration import features
from machine_node.virtual.accelerometer import RATE_HZ, Accelerometer
from machine_node.virtual.fault_effects import Effects
from machine_node.virtual.faults import FaultRequest, FaultSchedule
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.line import SerialLine
from machine_node.virtual.power_meter import Meter
from twin_node.shadow import Shadow
from twin_node.timeline import Timeline

SPEED = 12.0
STEP_S = 0.2  # physics seconds of one turn; a virtual machine at SPEED sleeps as long
TELEMETRY_S, RESIDUAL_S = 0.6, 1.2  # 20 and 10 Hz in steady time
BURST_S = 1.0
FIRST_STAMP_S = 1000.0
READY_S = 60.0  # by when a controller has answered
LONGEST_JOB_S = 7200.0
Sample = TelemetrySample | ResidualSample | VibrationSample | PowerSample


class Cable:
    """Two queues of bytes; one end is a transport, the other the controller's."""

    wants_write = False

    def __init__(self) -> None:
        self.to_controller, self.to_host = bytearray(), bytearray()

    def read(self) -> bytes:
        """What the controller has said."""
        data = bytes(self.to_host)
        self.to_host.clear()
        return data

    def write(self, data: bytes) -> None:
        """To the controller."""
        self.to_controller += data

    def drop_pending(self) -> None:
        """All that was written has left already."""


@dataclass(frozen=True, slots=True)
class Job:
    """A program, and what the twin expects of it."""

    program: Program
    timeline: Timeline


class Rig:
    """One printer with a host.

    Args:
        nominal: the profile that host and twin have; the machine's true parameters are drawn around it.
        seed: of the machine, its noise, its sensors.
        burst_s: physics seconds between two bursts of the accelerometer; 0 = none.
        room_k: by which the room is warmer than the profile says.

    Attributes:
        now_s: physics time since power-on.
        failed: why the controller or the connection has failed; "" = it has not.
    """

    def __init__(self, nominal: MachineProfile, seed: int, burst_s: float = BURST_S, room_k: float = 0.0) -> None:
        self.profile = nominal
        self.now_s = 0.0
        self.failed = ""
        room = nominal.model_copy(update={"ambient": nominal.ambient + room_k})
        self.firmware = Firmware(room, SPEED, seed, Journal(None), lambda at: at)
        self.faults = FaultSchedule(nominal.kind)
        self._effects = Effects(self.firmware, SerialLine(seed + 3), self._pull)
        self._meter = Meter(self.firmware.plant, seed + 2)
        self._sensor = Accelerometer(self.firmware.plant.axes, self.firmware.plant, seed + 4)
        self._jitter = random.Random(seed + 5)
        self._cable = Cable()
        self._family = family_of(nominal)
        self.firmware.power_on(0.0)
        self._driver = self._family.connect(self._cable, nominal, SPEED, 0.0)
        self._execution: Execution | None = None
        self._finishing = False
        self._shadow = Shadow(nominal)
        self._reading: MeterReading | None = None
        self._fan = 0.0
        self._position_m = (math.nan, math.nan, math.nan)
        self._telemetry_due_s = self._residual_due_s = 0.0
        self._burst_s, self._burst_due_s = burst_s, 0.0 if burst_s else math.inf
        for _ in self.run(READY_S):
            if self._driver.ready:
                break

    @property
    def stamp_s(self) -> float:
        """The time in stamps."""
        return FIRST_STAMP_S + self.now_s

    @property
    def steady_s(self) -> float:
        """The host's clock."""
        return self.now_s / SPEED

    @property
    def busy(self) -> bool:
        """A job is being executed."""
        return self._execution is not None

    def fault(self, request: FaultRequest) -> None:
        """Let something fail."""
        self.faults.request(request, self.now_s)

    def begin(self, job: Job, job_id: str = "J1") -> None:
        """Start a job."""
        execution = prepare(job.program, job.program.digest, self.profile, SPEED, job_id, lambda _: None)
        self._family.begin(self._driver, execution.streamer, job.program, self.profile)
        execution.streamer.planner_free_idle = self._driver.planner_free_idle
        self._execution, self._finishing = execution, False
        self._shadow.begin(job.timeline, job.timeline.material)

    def run(self, seconds: float) -> Iterator[Sample]:
        """Let physics go on; everything that is published meanwhile."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s += STEP_S
            self._turn()
            yield from self._published()

    def run_job(self, job: Job, job_id: str = "J1") -> Iterator[Sample]:
        """A whole job, or until it has failed."""
        self.begin(job, job_id)
        end_s = self.now_s + LONGEST_JOB_S
        while self.busy and not self.failed and self.now_s < end_s:
            yield from self.run(STEP_S)

    # --- the machine's worker ---

    def _turn(self) -> None:
        """The controller, then the host: as machine_node.machine.Machine does it while permits come."""
        for change in self.faults.take_due(self.now_s):
            self._effects.apply(change, self.now_s)
        firmware, cable = self.firmware, self._cable
        if cable.to_controller:
            firmware.receive(bytes(cable.to_controller), self.now_s)
            cable.to_controller.clear()
        firmware.step(self.now_s)
        cable.to_host += firmware.output
        firmware.output.clear()
        if self.failed:
            return
        try:
            self._serve(self.steady_s)
        except MachineError as error:
            self.failed = str(error)

    def _serve(self, now: float) -> None:
        driver, execution = self._driver, self._execution
        events = driver.poll(now, lambda: True)
        if execution is None:
            driver.tend(now)
            return
        streamer = execution.streamer
        for event in events:
            streamer.follow(event, False, now)
        streamer.advance(now)
        self._position_m = streamer.position_m
        if self._finishing:
            if driver.settled:
                self._position_m = streamer.finish()
                driver.seal()
                self._execution = None
                self._shadow.end()
            return
        self._stream(execution, now)

    def _stream(self, execution: Execution, now: float) -> None:
        driver, streamer = self._driver, execution.streamer
        while not streamer.all_sent:
            piece = streamer.peek(now)
            if piece is None or (piece.text and not driver.can_send(piece.text)):
                return
            line = driver.send(piece.text, now) if piece.text else 0
            streamer.take(line, now, 1.0)
            if piece.kind is Kind.INSTANT and piece.last and execution.program.op[piece.instruction] == Op.SET_FAN:
                self._fan = float(execution.program.value[piece.instruction])
        driver.finish()
        self._finishing, self._fan = True, 0.0

    def _pull(self, _: float) -> None:
        self.failed = "the cable was pulled."

    # --- what is published ---

    def _published(self) -> Iterator[Sample]:
        line = self._meter.read()
        reading = parse_reading(line) if line else None
        if reading is not None:
            self._reading = reading
            yield PowerSample(
                stamp_s=self.stamp_s, machine_id=self.profile.id, received_s=self.stamp_s, source_s=reading.uptime_s,
                voltage_v=reading.voltage_v, current_a=reading.current_a, power_w=reading.power_w,
                energy_j=reading.energy_j,
            )  # fmt: skip
        if self.now_s >= self._telemetry_due_s:
            self._telemetry_due_s = self.now_s + TELEMETRY_S
            sample = self.telemetry()
            yield sample
            channels = self._shadow.observe(sample)
            if self.now_s >= self._residual_due_s:
                self._residual_due_s = self.now_s + RESIDUAL_S
                yield ResidualSample(
                    sample.stamp_s, self.profile.id, 1, sample.job_id, sample.program_digest, sample.instruction,
                    channels, 0.0,
                )  # fmt: skip
        if self.now_s >= self._burst_due_s:
            self._burst_due_s = self.now_s + self._burst_s
            yield from self._bursts()

    def _bursts(self) -> Iterator[VibrationSample]:
        samples = self._sensor.samples_m_s2(self.now_s, self.firmware.moving_phases(self.now_s))
        for axis in VibrationAxis:
            found = features(samples[:, axis - 1], RATE_HZ)
            if found is not None:
                yield VibrationSample(
                    self.stamp_s, self.profile.id, self.stamp_s, axis, len(samples), RATE_HZ, found.rms_m_s2,
                    found.kurtosis, found.dominant_frequency_hz, found.band_energy,
                )  # fmt: skip

    def telemetry(self) -> TelemetrySample:
        """As machine_node.node publishes it."""
        execution, reading, driver = self._execution, self._reading, self._driver
        state = MachineState.EXECUTING if execution is not None else MachineState.IDLE
        executed = 0 if execution is None else min(execution.streamer.executed, len(execution.program) - 1)
        return TelemetrySample(
            stamp_s=self.stamp_s, machine_id=self.profile.id, incarnation=1, challenge=1,
            state=MachineState.FAULT if self.failed else state, error_msg=self.failed,
            job_id="" if execution is None else execution.job_id,
            program_digest=NO_DIGEST if execution is None else execution.digest,
            instruction=max(0, executed),
            progress=0.0 if execution is None else execution.progress,
            position_m=self._position_m, reported_position_m=driver.reported_position_m,
            heaters=driver.heaters(self.profile, self.steady_s), fan=self._fan,
            power_w=math.nan if reading is None else reading.power_w,
            energy_j=math.nan if reading is None else reading.energy_j,
        )  # fmt: skip
