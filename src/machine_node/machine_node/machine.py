"""The machine's worker: one thread that owns the serial ports, streams the program and asks the guard each time.

No ROS here. The executor's thread calls the public methods; they take the one lock, so that a stop request or a
permit is seen before the next line is written. Steady time everywhere.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from industriverse_core.errors import CoreError, ErrorCode, MachineError, PermitError
from industriverse_core.machine import MachineProfile
from industriverse_core.permit import Permit, StopLevel
from industriverse_core.program import Op
from industriverse_core.telemetry import UNMEASURED, MachineState, Vector
from machine_node.drivers import Driver
from machine_node.execution import Execution, Outcome, Result, Snapshot, Step, snapshot_of
from machine_node.families import family_of
from machine_node.meter import open_meter
from machine_node.permit_guard import Cause, GuardState, PermitGuard
from machine_node.ports import AUTO, find_port
from machine_node.stopping import Kill, LatchedLevel, Progress, StopProcedure
from machine_node.streaming.pieces import Kind
from machine_node.streaming.streamer import STILL, Streamer
from machine_node.transport import SerialTransport, Waker

RETRY_S = 2.0
LONGEST_SLEEP_S = 0.02
EXECUTING_SLEEP_S = 0.005


class Machine:
    """Worker and its interface.

    Args:
        profile, port, meter_port, baud, time_scale: see the node's parameters; baud 0 = the profile's.
        guard: judges permits; only touched under the lock.
        log: gets one line a remarkable event, in any thread.
    """

    def __init__(
        self,
        profile: MachineProfile,
        port: str,
        meter_port: str,
        guard: PermitGuard,
        time_scale: float = 1.0,
        baud: int = 0,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._profile = profile
        self._family = family_of(profile)
        self._port, self._meter_port = port, meter_port
        self._baud = baud or profile.protocol.baud
        self._scale = time_scale
        self._guard = guard
        self._log = log
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._main, name="serial", daemon=True)
        self._stopping = False
        self._waker = Waker()
        self.failure: BaseException | None = None  # a bug in the worker's thread
        self._transport: SerialTransport | None = None
        self._driver: Driver | None = None
        self._retry_at = 0.0
        self._logged = ""  # last problem that was logged
        self._fault: CoreError | None = None
        self.meter = open_meter(meter_port, self._baud)  # `take` by any thread
        self._execution: Execution | None = None
        self._streamer: Streamer | None = None
        self._step = Step.STREAMING
        self._stop: StopProcedure | None = None
        self._kill: Kill | None = None
        self._latched_level = LatchedLevel()
        self._cancel = ""
        self._fan = 0.0
        self._position_m: Vector = UNMEASURED

    # --- for the executor's thread ---

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """End the worker; a running execution is stopped first (heaters off, as far as the port still takes it)."""
        self._stopping = True
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    @property
    def connected(self) -> bool:
        """True when the handshake is done."""
        driver = self._driver
        return driver is not None and driver.ready

    def check_free(self) -> None:
        """Raise MachineError or PermitError when an execution could not begin now."""
        with self._lock:
            self._check_free(time.monotonic())

    def begin(self, execution: Execution) -> None:
        """Accept an execution; it moves when permits come. Raises what `check_free` raises."""
        with self._lock:
            now = time.monotonic()
            driver = self._check_free(now)
            self._family.begin(driver, execution.streamer, execution.program, self._profile)
            self._guard.accept(execution.digest, now)
            self._execution, self._streamer = execution, execution.streamer
            self._streamer.planner_free_idle = driver.planner_free_idle
            self._step, self._cancel, self._stop = Step.STREAMING, "", None
        self._waker.wake()

    def _check_free(self, now: float) -> Driver:
        self._guard.tick(now)
        if self._execution is not None:
            raise MachineError(ErrorCode.BUSY, "another execution runs on this machine.", "Wait for its end.")
        if self._guard.state is GuardState.LATCHED:
            remedy = "Clear the stop first: industriverse clear --reason '...'."
            raise PermitError(ErrorCode.MACHINE_LATCHED, "the machine is stopped and latched.", remedy)
        driver = self._driver
        if driver is None or not self.connected:
            seen = f" ({self._fault.message})" if self._fault is not None else ""
            raise MachineError(
                ErrorCode.PORT_UNAVAILABLE, f"the machine is not connected{seen}.", "Switch it on and check its port."
            )
        if driver.locked:
            raise MachineError(ErrorCode.CONTROLLER_LOCKED, driver.locked, "Home the machine or unlock it.")
        return driver

    def on_permit(self, permit: Permit) -> None:
        """A permit as received."""
        with self._lock:
            self._guard.on_permit(permit, time.monotonic())
        self._waker.wake()

    def on_malformed_permit(self) -> None:
        """A permit message that is not even a permit."""
        with self._lock:
            self._guard.refused[ErrorCode.UNREADABLE_MESSAGE.name] += 1

    def on_stop(self, machine_id: str, level: StopLevel, source: str, reason: str) -> None:
        """A stop request."""
        with self._lock:
            self._guard.on_stop(machine_id, level, source, reason, time.monotonic())
        self._waker.wake()

    def cancel(self, reason: str) -> None:
        """End the running execution as soon as possible: the stream stops, heaters off."""
        with self._lock:
            self._cancel = reason or "cancelled"
        self._waker.wake()

    def snapshot(self) -> Snapshot:
        """The state now; renews the challenge, so publish it."""
        now = time.monotonic()
        with self._lock:
            self._guard.tick(now)
            guard, execution, streamer, driver = self._guard, self._execution, self._streamer, self._driver
            code, message = self._explain()
            if streamer is not None:
                streamer.advance(now)
                self._position_m = streamer.position_m
            state, meter = self._state(), self.meter.reading(now)
            snapshot = snapshot_of(state, code, message, guard, execution, driver, self._profile, now)
            return replace(snapshot, position_m=self._position_m, fan=self._fan, meter=meter)

    def tool(self) -> tuple[Vector, Vector]:
        """(position [m], velocity [m/s in steady time]) of the tool now: of the stream, else as last reported."""
        with self._lock:
            streamer, driver = self._streamer, self._driver
            if streamer is not None:
                streamer.advance(time.monotonic())
                if streamer.position_m[0] == streamer.position_m[0]:
                    return streamer.position_m, streamer.velocity_m_s
            reported_m = UNMEASURED if driver is None else driver.reported_position_m
            return self._position_m if reported_m[0] != reported_m[0] else reported_m, STILL

    def _state(self) -> MachineState:
        if self._guard.state is GuardState.LATCHED:
            return MachineState.LATCHED
        if not self.connected:
            broken = self._fault is not None and self._fault.code is not ErrorCode.PORT_UNAVAILABLE
            return MachineState.FAULT if broken else MachineState.DISCONNECTED
        if self._guard.state is GuardState.HOLD:
            return MachineState.HOLDING
        return MachineState.IDLE if self._execution is None else MachineState.EXECUTING

    def _explain(self) -> tuple[ErrorCode, str]:
        if self._guard.state is GuardState.LATCHED and self._guard.cause is not None:
            return self._guard.cause.code, self._guard.cause.message
        if self._fault is not None:
            return self._fault.code, str(self._fault)
        return ErrorCode.OK, ""

    # --- the worker ---

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._say_goodbye()
        except BaseException as error:  # noqa: BLE001 - a bug in this thread must end the process, not hide in it
            self.failure = error
        finally:
            self.meter.close()
            if self._transport is not None:
                self._transport.close()

    def _turn(self) -> None:
        """Wait for something to do, then do all of it."""
        self._wait()
        self.meter.poll(time.monotonic())
        if self._driver is None:
            if time.monotonic() >= self._retry_at:
                self._connect(time.monotonic())
            return
        try:
            with self._lock:
                self._serve(time.monotonic())
            self._stream()
        except CoreError as error:
            self._fail(error)

    def _wait(self) -> None:
        timeout = LONGEST_SLEEP_S
        streamer = self._streamer
        if streamer is not None:
            timeout = min(EXECUTING_SLEEP_S, max(0.0005, streamer.room_in_s(time.monotonic())))
        ports = [self._transport] if self._transport is not None else []
        readers: list[object] = [self._waker, *self.meter.readers(), *ports]
        writers = ports if self._may_flush() else []
        readable, writable, _ = select.select(readers, writers, [], timeout)
        if self._waker in readable:
            self._waker.clear()
        if writable:
            self._flush()

    def _may_flush(self) -> bool:
        """Bytes wait for the port; they may be those of a move, so the guard is asked."""
        with self._lock:
            return self._transport is not None and self._transport.wants_write and self._may_repeat()

    def _flush(self) -> None:
        try:
            with self._lock:
                if self._transport is not None and self._may_repeat():
                    self._transport.flush()
        except MachineError as error:
            self._fail(error)

    def _may_repeat(self) -> bool:
        """True when what was sent before may be sent now. Asked under the lock, each time with the time of then."""
        return self._execution is None or self._step is Step.STOPPING or self._guard.motion_allowed(time.monotonic())

    def _connect(self, now: float) -> None:
        self._retry_at = now + RETRY_S
        try:
            if self._port == AUTO:
                found = find_port(self._profile, exclude=(self._meter_port,), cancelled=lambda: self._stopping)
                self._port, self._baud = found.port, found.baud
            self._transport = SerialTransport(self._port, self._baud)
        except MachineError as error:
            self._note(error)
            return
        self._driver = self._family.connect(self._transport, self._profile, self._scale, now)

    def _note(self, error: CoreError) -> None:
        """Remember a problem of the connection; log it once."""
        self._fault = error
        if str(error) != self._logged:
            self._logged = str(error)
            self._log(str(error))

    def _fail(self, error: CoreError) -> None:
        """The connection or the controller has failed: end the execution, halt the controller, try again later."""
        with self._lock:
            self._note(error)
            driver, transport, kill = self._driver, self._transport, self._kill
            self._driver = self._transport = self._kill = None
            halted = kill is not None and error.code is ErrorCode.CONTROLLER_ERROR
            if halted:
                self._latched_level.reached(StopLevel.STOP0, self._guard.latch_id)
            begun = self._streamer is not None and self._streamer.begun
            if self._execution is not None:
                self._end_failed(error, begun and not halted)
            self._retry_at = time.monotonic() + RETRY_S
        if transport is None:
            return
        if driver is not None and begun and not halted:
            with suppress(MachineError):  # the port may be gone
                driver.kill()  # heaters off, whatever state the controller is in
                transport.drain()
        transport.close()

    def _end_failed(self, error: CoreError, unknown_state: bool) -> None:
        """End the execution; where nobody knows what the controller does, only the operator lets the next one begin."""
        cause = self._guard.cause
        if unknown_state:
            self._guard.latch(Cause(error.code, str(error)), time.monotonic())
        if self._step is Step.STOPPING and cause is not None:
            self._end(Outcome.STOPPED, cause.code, cause.message)
        else:
            self._end(Outcome.FAULT, error.code, str(error))

    def _serve(self, now: float) -> None:
        """What has arrived, the passing of time, and what follows from both. Under the lock."""
        driver, streamer = self._driver, self._streamer
        assert driver is not None
        was_ready = driver.ready
        for event in driver.poll(now, self._may_repeat):
            if streamer is not None:
                self._follow(event, streamer, now)
        if driver.ready and not was_ready:
            self._fault, self._logged = None, ""
            self._fan = 0.0
            self._log(f"connected to {self._port}")
            for notice in driver.notices:
                self._log(notice)
        self._guard.tick(now)
        self._obey_latch(driver, now)
        if self._execution is not None:
            self._judge(driver, now)
        else:
            driver.tend(now)

    def _follow(self, event: object, streamer: Streamer, now: float) -> None:
        """What the controller says of the lines that it was sent."""
        try:
            streamer.follow(event, self._step is Step.STOPPING, now)
        except MachineError as error:
            self._break(error, now)
        if streamer.witness.doubts and self._driver is not None:
            self._driver.look_again()

    def _break(self, error: MachineError, now: float) -> None:
        """The stream is not what the program is any more: a controlled stop, latched."""
        if self._step is not Step.STOPPING and self._guard.has_execution:
            self._note(error)
            self._guard.latch(Cause(error.code, str(error)), now)

    def _obey_latch(self, driver: Driver, now: float) -> None:
        """A latch asks for its level in every state, also of a machine that executes nothing."""
        guard, level = self._guard, self._latched_level
        if self._kill is not None:
            self._kill.step(now)
        elif level.wants(StopLevel.STOP0, guard.latch_id, guard.stop_level):
            self._halt(driver, now)
        elif (
            self._execution is None and driver.ready and level.wants(StopLevel.STOP1, guard.latch_id, guard.stop_level)
        ):
            level.reached(StopLevel.STOP1, guard.latch_id)
            driver.power_off()

    def _halt(self, driver: Driver, now: float) -> None:
        """The controller switches everything off and has to be reset."""
        self._kill = Kill(driver, now)
        self._fan = 0.0

    # --- execution ---

    def _judge(self, driver: Driver, now: float) -> None:
        """Whether the execution goes on, has to stop, or is over."""
        guard, streamer = self._guard, self._streamer
        assert streamer is not None
        streamer.advance(now)
        if self._step is Step.STOPPING:
            self._await_stop(driver, now)
            return
        if self._cancel:
            guard.end(now)
            guard.cause = Cause(ErrorCode.CANCELLED, f"cancelled: {self._cancel}")
        elif guard.state is GuardState.HOLD and streamer.barrier is Kind.CYCLE:
            # homing and levelling are moves of the controller's own: they cannot be held, only broken off
            guard.latch(Cause(ErrorCode.PERMIT_LAPSED, "the motion permit lapsed while homing or levelling."), now)
        self._follow_permit(driver, now)
        if not guard.has_execution:
            self._begin_stop(driver, now)
        elif self._step is Step.FINISHING and driver.settled:
            self._position_m = streamer.finish()
            guard.end(now)
            self._end(Outcome.COMPLETED, ErrorCode.OK, "")

    def _follow_permit(self, driver: Driver, now: float) -> None:
        """What is queued already obeys the permit too, where the controller can."""
        guard = self._guard
        if guard.state is GuardState.HOLD:
            driver.hold(now)
        elif guard.motion_allowed(now):
            driver.go_on(now)
            driver.set_speed(guard.speed_scale, now)

    def _begin_stop(self, driver: Driver, now: float) -> None:
        """Break off what the controller does by itself, and switch the heaters off."""
        guard, streamer = self._guard, self._streamer
        assert streamer is not None
        assert guard.cause is not None
        if not streamer.begun and driver.settled and guard.cause.code is ErrorCode.NO_PERMIT:
            self._end(Outcome.REFUSED, guard.cause.code, guard.cause.message)
            return
        self._step = Step.STOPPING
        if self._kill is not None:
            return
        motors_off = guard.stop_level is StopLevel.STOP1
        self._stop = self._family.begin_stop(driver, streamer, motors_off, now)
        if self._stop is None:
            self._halt(driver, now)
            return
        self._fan = 0.0
        if motors_off:
            self._latched_level.reached(StopLevel.STOP1, guard.latch_id)

    def _await_stop(self, driver: Driver, now: float) -> None:
        cause = self._guard.cause
        assert cause is not None
        if self._kill is not None or self._stop is None:
            return  # that it has halted arrives as a fault
        progress = self._stop.step(now)
        if progress is Progress.DONE:
            self._end(Outcome.STOPPED, cause.code, cause.message)
        elif progress is Progress.HOPELESS:
            self._halt(driver, now)

    def _end(self, outcome: Outcome, code: ErrorCode, message: str) -> None:
        """Tell the owner; the guard keeps its latch if it has one."""
        execution, streamer = self._execution, self._streamer
        assert execution is not None
        assert streamer is not None
        self._guard.end(time.monotonic())
        if self._driver is not None:
            self._driver.seal()
        self._execution = self._streamer = self._stop = None
        self._log(f"job {execution.job_id or '-'}: {outcome.name} {message}".strip())
        execution.on_end(Result(outcome, code, message, streamer.executed))

    def _stream(self) -> None:
        """Write every line that may be written now. The guard is asked before each one, under the lock."""
        while True:
            with self._lock:
                if not self._write_one(time.monotonic()):
                    return

    def _write_one(self, now: float) -> bool:
        execution, streamer, driver = self._execution, self._streamer, self._driver
        if execution is None or streamer is None or driver is None:
            return False
        if self._step is not Step.STREAMING or not self._guard.motion_allowed(now):
            return False
        if streamer.all_sent:
            driver.finish()
            self._step, self._fan = Step.FINISHING, 0.0
            return False
        piece = streamer.peek(now)
        if piece is None or (piece.text and not driver.can_send(piece.text)):
            return False
        line = driver.send(piece.text, now) if piece.text else 0
        streamer.take(line, now, self._guard.speed_scale)
        if piece.kind is Kind.INSTANT and piece.last and execution.program.op[piece.instruction] == Op.SET_FAN:
            self._fan = float(execution.program.value[piece.instruction])
        return True

    def _say_goodbye(self) -> None:
        """The process ends: stop the stream, heaters off."""
        driver = self._driver
        if driver is None or not self.connected:
            return
        with suppress(CoreError):
            with self._lock:
                self._guard.end(time.monotonic())
                if self._execution is not None and self._step is not Step.STOPPING:
                    self._guard.cause = Cause(ErrorCode.CANCELLED, "the machine node was ended.")
                    self._begin_stop(driver, time.monotonic())
            deadline = time.monotonic() + 1.0
            while self._goodbye_goes_on(driver, time.monotonic()):
                if time.monotonic() >= deadline:
                    driver.kill()
                    break
                select.select([self._transport], [], [], 0.02)
            if self._transport is not None:
                self._transport.drain()

    def _goodbye_goes_on(self, driver: Driver, now: float) -> bool:
        """False when the controller has acknowledged everything, or was halted."""
        with self._lock:
            for event in driver.poll(now, self._may_repeat):
                if self._streamer is not None:
                    self._follow(event, self._streamer, now)
            if self._kill is not None:
                return False
            if self._stop is not None and self._stop.step(now) is Progress.HOPELESS:
                self._halt(driver, now)
                return False
            return not driver.settled
