"""One cell in virtual time: the real shield, guard, worker, driver and controller, and what lies between them.

The processes here do what the nodes do around that logic, without ROS: timers, queues of bounded depth, what is kept on
disk. A process can be frozen, killed and started again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.digest import Digest
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import MachineProfile
from industriverse_core.permit import PERMIT_PERIOD_S, Permit, StopLevel
from industriverse_core.program import Program
from industriverse_core.states import Safety
from industriverse_core.telemetry import TelemetrySample
from machine_node.execution import Execution, Result
from machine_node.machine import Machine
from machine_node.permit_guard import GuardState, PermitGuard
from machine_node.preparation import prepare
from shield_node.memory import Memory
from shield_node.shield import CONDUCTOR, TWIN, Shield

from .line import Line
from .witness import Witness
from .world import Channel, SteadyClock, WallClock, World

KEY = b"c" * 32
TELEMETRY_PERIOD_S = 0.05
HEARTBEAT_S = {TWIN: 0.05, CONDUCTOR: 0.1}
QUEUE = {"permit": 1, "telemetry": 5, "stop": 10}  # depth of the subscription, as in qos.py
LATE_S = 1e-3  # that a process on a busy computer is late, at most


class Process:
    """What every process has: a clock, an inbox that fills while it is frozen, and a life."""

    def __init__(self, world: World) -> None:
        draw = world.draw
        self.world = world
        self.clock = SteadyClock(world, draw.uniform(1.0, 1e6), 1.0 + draw.gauss(0.0, 50e-6))
        self.frozen = False
        self.alive = True
        self._inbox: dict[str, deque[Callable[[], None]]] = {}

    def receive(self, topic: str, handle: Callable[[], None]) -> None:
        """A message arrives: handled now, or kept as long as the queue's depth lets it."""
        if not self.alive:
            return
        if self.frozen:
            self._inbox.setdefault(topic, deque(maxlen=QUEUE.get(topic, 10))).append(handle)
        else:
            handle()

    def freeze(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        self.frozen = True
        self.world.after(for_s, self.thaw)

    def thaw(self) -> None:
        """Go on: what has waited is handled in any order of the topics."""
        if not self.frozen:
            return
        self.frozen = False
        waiting = list(self._inbox.values())
        self._inbox.clear()
        self.world.draw.shuffle(waiting)
        for queue in waiting:
            for handle in queue:
                if self.alive:
                    handle()

    def every(self, period_s: float, action: Callable[[], None]) -> None:
        """A steady timer, which skips what it misses."""

        def fire() -> None:
            if not self.alive:
                return
            if not self.frozen:
                action()
            self.world.after(period_s / self.clock.rate + self.world.draw.uniform(0.0, LATE_S), fire)

        self.world.after(self.world.draw.uniform(0.0, period_s), fire)


class ShieldProcess(Process):
    """What shield_node's node does around `Shield`."""

    def __init__(self, cell: Cell, memory: Memory) -> None:
        super().__init__(cell.world)
        self._cell = cell
        incarnation = max(cell.wall.nanoseconds(), memory.incarnation + 1)
        self.shield = Shield(cell.profile.id, KEY, incarnation, kept_latch=memory.latch)
        self._told = memory.latch
        cell.memory = Memory(incarnation, memory.latch)
        self.every(PERMIT_PERIOD_S, self._tick)

    def _tick(self) -> None:
        permit = self.shield.tick(self.clock())
        if permit is not None:
            self._cell.witness.signed(permit, self.world.now, self.shield.state is Safety.LATCHED)
            self._cell.permits.send(permit)
        self.remember()

    def on_telemetry(self, sample: TelemetrySample) -> None:
        """Telemetry as received."""
        if sample.machine_id == self._cell.profile.id:
            self.shield.observe_telemetry(sample, self.clock())
            self.remember()

    def on_source(self, name: str, incarnation: int) -> None:
        """A heartbeat of the twin or the conductor."""
        self.shield.observe_source(name, incarnation, self.clock())
        self.remember()

    def on_stop(self, level: StopLevel) -> None:
        """A stop request."""
        self.shield.stop(level, ErrorCode.STOP_REQUESTED, "someone asked to stop.")
        self.remember()

    def remember(self) -> None:
        """Keep the latch on disk, and tell the machine of a new one."""
        latch = self.shield._latch
        if latch is not self._told:
            self._told, self._cell.memory = latch, Memory(self.shield.incarnation, latch)
            if latch is not None and latch.code is not ErrorCode.MACHINE_LATCHED:
                self._cell.stops.send(latch.level)


class MachineProcess(Process):
    """What machine_node's node and its worker's thread do around `Machine`."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.world)
        self._cell = cell
        self.incarnation = cell.wall.nanoseconds()
        draw = self.world.draw
        self.guard = PermitGuard(cell.profile.id, KEY, lambda: draw.getrandbits(62) + 1)
        self.machine = Machine(
            cell.profile, "simulated", "", self.guard, clock=self.clock, open_port=cell.line.open  # type: ignore[arg-type]
        )  # fmt: skip
        self._turn_s = math.inf
        self.wake(0.0)
        self.every(TELEMETRY_PERIOD_S, self._publish)

    def wake(self, delay_s: float) -> None:
        """Let the worker turn after this time at the latest."""
        at_s = self.world.now + delay_s
        if at_s < self._turn_s:
            self._turn_s = at_s
            self.world.after(delay_s, self._turn)

    def _turn(self) -> None:
        if self.world.now < self._turn_s or not self.alive or self.frozen:
            return
        self._turn_s = math.inf
        self.machine.turn(self.machine.may_flush() and not self._cell.line.blocked)
        self._watch()
        self.wake(self.machine.sleep_s() / self.clock.rate)

    def freeze(self, for_s: float) -> None:
        """See Process."""
        self._cell.witness.unattended(self.world.now, for_s)
        super().freeze(for_s)

    def thaw(self) -> None:
        """See Process: the worker goes on before or after what has waited in the inbox."""
        if not self.frozen:
            return
        if self.world.draw.random() < 0.5:
            self.frozen = False
            self._turn_s = self.world.now
            self._turn()
            self.frozen = True
        super().thaw()
        self._turn_s = math.inf
        self.wake(0.0)

    def _watch(self) -> None:
        """A latch of the machine's own ends permission too."""
        if self.guard.state is GuardState.LATCHED:
            self._cell.witness.stop(self.world.now)

    def on_permit(self, permit: Permit) -> None:
        """A permit as received."""
        self._cell.witness.arrived(permit, self.world.now, self.clock.rate)
        self.machine.on_permit(permit)
        self.wake(self.world.draw.uniform(0.0, LATE_S))

    def on_stop(self, level: StopLevel) -> None:
        """A stop request."""
        self._cell.witness.stop(self.world.now)
        self.machine.on_stop("", level, "campaign", "a fault is injected")
        self.wake(self.world.draw.uniform(0.0, LATE_S))

    def begin(self, execution: Execution) -> None:
        """Raises CoreError, as `Machine.begin`."""
        self.machine.begin(execution)
        self._cell.witness.began(execution.digest, self.world.now)
        self.wake(0.0)

    def cancel(self) -> None:
        """The owner cancels."""
        self._cell.witness.end(self.world.now)
        self.machine.cancel("campaign")
        self.wake(self.world.draw.uniform(0.0, LATE_S))

    @property
    def executed(self) -> int:
        """Instructions of the running execution that have ended."""
        streamer = self.machine._streamer
        return 0 if streamer is None else streamer.executed

    def sample(self) -> TelemetrySample:
        """What is published."""
        snapshot = self.machine.snapshot()
        self._cell.witness.challenged(snapshot.challenge, self.world.now)
        return TelemetrySample(
            stamp_s=self._cell.wall.nanoseconds() * 1e-9, machine_id=self._cell.profile.id,
            incarnation=self.incarnation, challenge=snapshot.challenge, state=snapshot.state,
            error_code=int(snapshot.code), error_msg=snapshot.message, program_digest=snapshot.digest,
            heaters=snapshot.heaters, latch_id=snapshot.latch_id, queued_s=snapshot.queued_s,
        )  # fmt: skip

    def _publish(self) -> None:
        self._cell.telemetry.send(self.sample())


class Cell:
    """Everything, wired together.

    Args:
        seed: of every draw.
        profile: of the machine.
    """

    def __init__(self, seed: int, profile: MachineProfile, braking_s: float = 0.0) -> None:
        self.world = world = World(seed)
        self.profile = profile
        self.wall = WallClock(world)
        self.witness = Witness(profile.protocol.family == "grbl", braking_s)
        self.memory = Memory()
        self.result: Result | None = None
        self.armed: Digest | None = None
        self.machine: MachineProcess
        self.shield: ShieldProcess
        self.unreadable = 0
        self.permits = Channel(world, self._permit_arrives)
        self.telemetry = Channel(world, lambda each: self.shield.receive("telemetry", lambda: self._sample(each)))
        self.stops = Channel(world, lambda level: self.machine.receive("stop", lambda: self.machine.on_stop(level)))
        self.heartbeats: dict[str, Channel] = {}
        self.incarnations = dict.fromkeys(HEARTBEAT_S, 1)
        self.line = Line(
            world, profile, self.witness.motion, lambda data: self.witness.handed(data, world.now), self._bytes_arrive
        )
        self.start_shield()
        self.machine = MachineProcess(self)
        for name in HEARTBEAT_S:
            self._begin_heartbeat(name)

    def _begin_heartbeat(self, name: str) -> None:
        def deliver(incarnation: int) -> None:
            self.shield.receive(name, lambda: self.shield.on_source(name, incarnation))

        self.heartbeats[name] = channel = Channel(self.world, deliver)
        Process(self.world).every(HEARTBEAT_S[name], lambda: channel.send(self.incarnations[name]))

    @property
    def channels(self) -> list[Channel]:
        """All topics between the processes."""
        return [self.permits, self.telemetry, self.stops, *self.heartbeats.values()]

    # --- what arrives ---

    def _permit_arrives(self, permit: Permit | None) -> None:
        machine = self.machine
        if permit is None:
            machine.receive("permit", self._malformed)
        else:
            machine.receive("permit", lambda: machine.on_permit(permit))

    def _malformed(self) -> None:
        self.unreadable += 1
        self.machine.machine.on_malformed_permit()

    def _sample(self, sample: TelemetrySample | None) -> None:
        if sample is None:
            self.unreadable += 1
        else:
            self.shield.on_telemetry(sample)

    def _bytes_arrive(self) -> None:
        self.machine.wake(self.world.draw.uniform(0.0, 0.5e-3))

    # --- lives ---

    def start_shield(self) -> None:
        """A shield with what its predecessor has left on the disk."""
        self.shield = ShieldProcess(self, self.memory)

    def kill_shield(self, back_after_s: float) -> None:
        """kill -9, and the next one after so long."""
        self.shield.alive = False
        self.world.after(back_after_s, self.start_shield)

    def kill_machine(self, back_after_s: float) -> None:
        """kill -9 of machine_node, and the next one after so long."""
        self.machine.alive = False
        self.machine.machine.close()
        self.line.hang_up()
        self.witness.restarted(self.world.now)
        self.witness.unattended(self.world.now, back_after_s)

        def start() -> None:
            self.machine = MachineProcess(self)

        self.world.after(back_after_s, start)

    # --- jobs ---

    def submit(self, program: Program, armed: Digest | None = None) -> None:
        """What the conductor does: check, arm, execute. Raises CoreError.

        Args:
            armed: digest that is armed instead of the program's own.
        """
        self.result, self.armed = None, armed or program.digest
        shield, machine = self.shield, self.machine
        report = GateReport(self.armed, self.profile.id, Verdict.ACCEPT, (), 0, 0)
        shield.shield.remember(report)
        shield.shield.arm(self.armed, shield.clock())
        try:
            machine.begin(prepare(program, program.digest, self.profile, 1.0, "job", self._ended))
        except CoreError:
            shield.shield.disarm()
            raise

    def _ended(self, result: Result) -> None:
        self.result = result
        self.witness.end(self.world.now)
        self.world.after(0.01, self._disarm)

    def _disarm(self) -> None:
        if self.shield.alive and self.shield.shield.snapshot(self.shield.clock()).digest == self.armed:
            self.shield.shield.disarm()

    # --- the operator ---

    def clear(self) -> bool:
        """The operator's two steps, as far as they are needed. True when nothing is latched any more."""
        shield, machine = self.shield, self.machine
        if not shield.alive or shield.frozen:
            return False
        if shield.shield.state is Safety.LATCHED:
            try:
                latch = shield.shield.latched()
                shield.shield.clear(latch.latch_id, "campaign", shield.clock())
            except CoreError:
                return False
            shield.remember()
        if machine.guard.state is GuardState.LATCHED:
            return False
        self.witness.cleared()
        return True

    @property
    def free(self) -> bool:
        """A job could begin."""
        try:
            self.machine.machine.check_free()
        except CoreError:
            return False
        ready = self.machine.alive and not self.machine.frozen and self.shield.alive
        return ready and self.shield.shield.state is Safety.IDLE
