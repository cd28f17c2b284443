"""What is injected into the simulated cell: one function a class of fault, its first line says what happens.

Each takes the cell in mid-job, begins the fault, plans its end, and returns after how many seconds the fault is over.
All draws come from the run's own generator.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import CoreError
from industriverse_core.permit import Permit, StopLevel, sign
from industriverse_core.telemetry import HeaterReading, TelemetrySample
from industriverse_ros import convert

from .cell import KEY, Cell
from .world import Channel

ATTACK_PERIOD_S = 0.03
Injection = Callable[[Cell], float]


def _for_s(cell: Cell, low: float = 0.05, high: float = 2.5) -> float:
    return cell.world.draw.uniform(low, high)


# --- processes ---


def shield_frozen(cell: Cell) -> float:
    """SIGSTOP of the shield, SIGCONT after 0.05 to 2.5 s."""
    seconds = _for_s(cell)
    cell.shield.freeze(seconds)
    return seconds


def shield_killed(cell: Cell) -> float:
    """kill -9 of the shield; its successor is there after 0.02 to 3 s and knows what the disk knows."""
    seconds = _for_s(cell, 0.02, 3.0)
    cell.kill_shield(seconds)
    return seconds


def machine_node_frozen(cell: Cell) -> float:
    """SIGSTOP of machine_node, SIGCONT after 0.05 to 2.5 s; then what has waited is handled in any order."""
    seconds = _for_s(cell)
    cell.machine.freeze(seconds)
    return seconds


def machine_node_killed(cell: Cell) -> float:
    """kill -9 of machine_node; its successor is there after 0.1 to 3 s."""
    seconds = _for_s(cell, 0.1, 3.0)
    cell.kill_machine(seconds)
    return seconds


def _silence(cell: Cell, channel: Channel) -> float:
    seconds = _for_s(cell)
    channel.loss = 1.0
    cell.world.after(seconds, channel.heal)
    return seconds


def twin_silent(cell: Cell) -> float:
    """Nothing is heard of the twin for 0.05 to 2.5 s."""
    return _silence(cell, cell.heartbeats["twin"])


def conductor_silent(cell: Cell) -> float:
    """Nothing is heard of the conductor for 0.05 to 2.5 s."""
    return _silence(cell, cell.heartbeats["conductor"])


def telemetry_silent(cell: Cell) -> float:
    """The shield hears no telemetry of the machine for 0.05 to 2.5 s."""
    return _silence(cell, cell.telemetry)


def source_restarted(cell: Cell) -> float:
    """The twin or the conductor is another process from one message to the next."""
    cell.incarnations[cell.world.draw.choice(sorted(cell.incarnations))] += 1
    return 0.1


# --- network ---


def _trouble(cell: Cell, channels: list[Channel], **wrong: Any) -> float:
    seconds = _for_s(cell)
    for channel in channels:
        for name, value in wrong.items():
            setattr(channel, name, value)
        cell.world.after(seconds, channel.heal)
    return seconds


def network_delay(cell: Cell) -> float:
    """Every message takes up to 1.5 s more."""
    return _trouble(cell, cell.channels, delay_s=_for_s(cell, 0.02, 1.5))


def network_loss(cell: Cell) -> float:
    """A share of all messages is lost, from a tenth to all."""
    return _trouble(cell, cell.channels, loss=_for_s(cell, 0.1, 1.0))


def network_duplicates(cell: Cell) -> float:
    """Messages arrive twice, the second time up to 2 s later."""
    return _trouble(cell, cell.channels, double=1.0, late=0.5, late_s=_for_s(cell, 0.05, 2.0))


def network_reordering(cell: Cell) -> float:
    """Messages overtake each other by up to 1 s."""
    return _trouble(cell, cell.channels, late=0.7, late_s=_for_s(cell, 0.05, 1.0))


def _flipped(message: Any, draw: random.Random) -> Any:
    """One bit of the serialised message flipped; None = what arrives cannot be read."""
    to_msg, from_msg = (
        (lambda each: convert.permit_to_msg(each, 0.0), convert.permit_from_msg)
        if isinstance(message, Permit)
        else (convert.telemetry_to_msg, convert.telemetry_from_msg)
    )
    msg = to_msg(message)
    data = bytearray(serialize_message(msg))
    bit = draw.randrange(32, len(data) * 8)  # the first four bytes say how the rest is encoded
    data[bit // 8] ^= 1 << bit % 8
    try:
        return from_msg(deserialize_message(bytes(data), type(msg)))
    except (ValueError, RuntimeError, UnicodeDecodeError):
        return None


def _flips(cell: Cell, channel: Channel) -> float:
    draw = cell.world.draw
    share = draw.uniform(0.05, 1.0)

    def change(message: Any) -> Any:
        return _flipped(message, draw) if draw.random() < share else message

    return _trouble(cell, [channel], change=change)


def permit_bit_flips(cell: Cell) -> float:
    """Single bits of serialised permits flip, in a twentieth to all of them."""
    return _flips(cell, cell.permits)


def telemetry_bit_flips(cell: Cell) -> float:
    """Single bits of serialised telemetry flip, in a twentieth to all of it."""
    return _flips(cell, cell.telemetry)


# --- attackers ---


def _attack(cell: Cell, forge: Callable[[Permit, int], Permit], shield_dies: bool | None = None) -> float:
    """Send what `forge` makes of the newest permit and a number, beside the shield's own or after its death."""
    seconds = _for_s(cell, 0.3, 2.5)
    dies = cell.world.draw.random() < 0.5 if shield_dies is None else shield_dies
    if dies:
        cell.kill_shield(seconds + 0.5)
    recorded = [permit for permit in cell.permits.seen if permit.program_digest != NO_DIGEST]
    count = 0

    def send() -> None:
        nonlocal count
        if recorded and count * ATTACK_PERIOD_S < seconds:
            count += 1
            cell.permits.inject(forge(recorded[-1], count))
            cell.world.after(ATTACK_PERIOD_S, send)

    send()
    return seconds


def _ahead(cell: Cell, permit: Permit, count: int) -> Permit:
    """The permit that would be next, with the challenge that everyone can read."""
    last = cell.telemetry.seen[-1]
    return replace(permit, sequence=permit.sequence + 2 + count, challenge=last.challenge)


def permit_forged(cell: Cell) -> float:
    """Permits with right fields, signed with another key."""
    return _attack(cell, lambda permit, n: sign(_ahead(cell, permit, n), b"x" * 32))


def permit_stretched(cell: Cell) -> float:
    """Old MACs under new sequence, challenge, validity or speed."""

    def forge(permit: Permit, count: int) -> Permit:
        stretched = _ahead(cell, permit, count)
        return cell.world.draw.choice([stretched, replace(permit, valid_for_ms=150_000), replace(stretched, mac=KEY)])

    return _attack(cell, forge)


def permit_replayed(cell: Cell) -> float:
    """Recorded genuine permits, again."""
    return _attack(cell, lambda *_: cell.world.draw.choice(list(cell.permits.seen)))


def permit_of_another_incarnation(cell: Cell) -> float:
    """Old MACs under a newer incarnation of the shield."""
    return _attack(cell, lambda permit, n: replace(_ahead(cell, permit, n), incarnation=permit.incarnation + n))


def permit_kept(cell: Cell) -> float:
    """Genuine permits are kept back and delivered 0.2 to 4 s late; the shield dies meanwhile, or goes on."""
    late_s = _for_s(cell, 0.2, 4.0)
    if cell.world.draw.random() < 0.5:
        cell.kill_shield(late_s + 0.5)
    return _trouble(cell, [cell.permits], delay_s=late_s) + late_s


def permit_for_another_program(cell: Cell) -> float:
    """Authentic permits, made with the cell's key, for a program that does not run."""

    def forge(permit: Permit, count: int) -> Permit:
        foreign = sign(replace(_ahead(cell, permit, count), program_digest=b"\x07" * 32), KEY)
        return foreign

    return _attack(cell, forge)


def clear_replayed(cell: Cell) -> float:
    """A latch is cleared by the operator; recorded permits that cleared it are sent to the next latch."""
    world = cell.world
    world.after(0.0, lambda: _stop(cell, StopLevel.HOLD))
    clearing = _Clearing(cell)
    world.after(0.5, clearing.ask)
    return 6.0


class _Clearing:
    """Clears the first latch, latches again and replays what cleared it."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self._replays = cell, 0

    def ask(self) -> None:
        if not self._cell.clear():
            self._cell.world.after(0.1, self.ask)
            return
        _stop(self._cell, StopLevel.HOLD)
        self._cell.world.after(0.1, self.replay)

    def replay(self) -> None:
        cell, draw = self._cell, self._cell.world.draw
        clearing = [permit for permit in cell.permits.seen if permit.cleared_latch]
        if clearing and self._replays < 40:
            self._replays += 1
            permit = draw.choice(clearing)
            latch_id = cell.machine.guard.latch_id
            cell.permits.inject(draw.choice([permit, replace(_ahead(cell, permit, 1), cleared_latch=latch_id)]))
            cell.world.after(0.05, self.replay)


# --- people ---


def _stop(cell: Cell, level: StopLevel) -> None:
    """A stop request reaches both nodes."""
    cell.stops.send(level)
    cell.shield.receive("stop", lambda: cell.shield.on_stop(level))


def stop_request(cell: Cell) -> float:
    """Somebody asks to stop: HOLD, STOP1 or STOP0."""
    _stop(cell, cell.world.draw.choice(list(StopLevel)))
    return 0.2


def cancel_race(cell: Cell) -> float:
    """The job is cancelled within 50 ms of a stop, of a lost permit, of a restart of the shield, or of nothing."""
    world, draw = cell.world, cell.world.draw
    others = [
        lambda: _stop(cell, draw.choice(list(StopLevel))),
        lambda: _silence(cell, cell.permits),
        lambda: cell.kill_shield(0.3),
        cell._disarm,
        lambda: None,
    ]
    world.after(draw.uniform(0.0, 0.05), draw.choice(others))
    world.after(draw.uniform(0.0, 0.05), lambda: cell.machine.receive("cancel", cell.machine.cancel))
    return 2.6


def hasty_operator(cell: Cell) -> float:
    """The operator clears ten times a second from the moment of the stop on, while the machine still stops."""
    world, asked = cell.world, 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        cell.clear()
        if asked < 10:
            world.after(0.1, ask)

    _stop(cell, world.draw.choice(list(StopLevel)))
    world.after(world.draw.uniform(0.0, 0.1), ask)
    return 1.5


# --- clocks ---


def wall_clock_jump(cell: Cell) -> float:
    """The computer's clock jumps by up to a year, either way; half the time the shield restarts after it."""
    draw = cell.world.draw
    cell.wall.jump_s = draw.choice([-1.0, 1.0]) * 10.0 ** draw.uniform(-2.0, 7.5)
    if draw.random() < 0.5:
        cell.kill_shield(draw.uniform(0.02, 2.0))
    return 2.0


def clock_drift(cell: Cell) -> float:
    """The shield's or the machine's steady clock runs up to 20 % too fast or too slow from now on."""
    process = cell.world.draw.choice([cell.shield, cell.machine])
    clock, now = process.clock, cell.world.now
    seen_s = clock()
    clock.rate *= 1.0 + cell.world.draw.uniform(-0.2, 0.2)
    clock._offset_s = seen_s - clock.rate * now
    return 2.0


# --- sensors ---


def nan_sensors(cell: Cell) -> float:
    """Temperatures and ages in telemetry are NaN, infinite or absurd."""
    draw = cell.world.draw

    def change(sample: TelemetrySample) -> TelemetrySample:
        bad = draw.choice([float("nan"), float("inf"), -float("inf"), 1e308, -300.0])
        heaters = tuple(HeaterReading(each.heater, bad, bad, bad) for each in sample.heaters)
        return replace(sample, stamp_s=draw.choice([0.0, sample.stamp_s]), heaters=heaters, queued_s=bad, power_w=bad)

    return _trouble(cell, [cell.telemetry], change=change)


def stale_telemetry(cell: Cell) -> float:
    """The same old telemetry is sent again and again in place of the new."""
    old = cell.telemetry.seen[0]
    return _trouble(cell, [cell.telemetry], change=lambda _: old)


# --- serial line and controller ---


def serial_bytes_garbled(cell: Cell) -> float:
    """Bits of 0.02 to 2 % of the bytes flip, both ways."""
    seconds = _for_s(cell, 0.2, 2.5)
    cell.line.fault("garbled_bytes", for_s=seconds, value=10.0 ** cell.world.draw.uniform(-3.7, -1.7))
    return seconds


def serial_bytes_lost(cell: Cell) -> float:
    """0.02 to 2 % of the bytes are lost, both ways."""
    seconds = _for_s(cell, 0.2, 2.5)
    cell.line.fault("lost_bytes", for_s=seconds, value=10.0 ** cell.world.draw.uniform(-3.7, -1.7))
    return seconds


def serial_port_blocked(cell: Cell) -> float:
    """The port takes no bytes for 0.05 to 2 s; in half of the runs the permits end meanwhile."""
    seconds = _for_s(cell, 0.05, 2.0)
    cell.line.blocked = True

    def unblock() -> None:
        cell.line.blocked = False
        cell.machine.wake(0.0)

    cell.world.after(seconds, unblock)
    if cell.world.draw.random() < 0.5:
        _silence(cell, cell.permits)
        return 2.6
    return seconds


def cable_pulled(cell: Cell) -> float:
    """The serial port goes away for 0.1 to 3 s."""
    seconds = _for_s(cell, 0.1, 3.0)
    cell.line.fault("cable_pull", value=seconds)
    return seconds


def controller_reset(cell: Cell) -> float:
    """The board restarts by itself."""
    cell.line.fault("controller_reset")
    return 0.3


def controller_frozen(cell: Cell) -> float:
    """The controller's program hangs for 0.1 to 12 s; planned motion runs out."""
    seconds = _for_s(cell, 0.1, 12.0)
    cell.line.fault("frozen", for_s=seconds)
    return seconds


def supply_sag(cell: Cell) -> float:
    """The controller's supply fails for 0.05 to 2 s: it is dead, then boots."""
    seconds = _for_s(cell, 0.05, 2.0)
    cell.line.fault("power_sag", for_s=seconds, value=0.1)
    return seconds


CLASSES: dict[str, Injection] = {
    each.__name__: each
    for each in (
        shield_frozen, shield_killed, machine_node_frozen, machine_node_killed, twin_silent, conductor_silent,
        telemetry_silent, source_restarted, network_delay, network_loss, network_duplicates, network_reordering,
        permit_bit_flips, telemetry_bit_flips, permit_forged, permit_stretched, permit_replayed,
        permit_of_another_incarnation, permit_kept, permit_for_another_program, clear_replayed, stop_request,
        cancel_race, hasty_operator, wall_clock_jump, clock_drift, nan_sensors, stale_telemetry, serial_bytes_garbled,
        serial_bytes_lost, serial_port_blocked, cable_pulled, controller_reset, controller_frozen, supply_sag,
    )
}  # fmt: skip


def two_at_once(cell: Cell) -> float:
    """Two of the classes above, within 0.3 s of each other."""
    draw = cell.world.draw
    first, second = (CLASSES[draw.choice(sorted(CLASSES))] for _ in range(2))
    ends_s = first(cell)
    later_s = draw.uniform(0.0, 0.3)

    def begin() -> None:
        with suppress(CoreError, struct.error):
            second(cell)

    cell.world.after(later_s, begin)
    return max(ends_s, 13.0)
