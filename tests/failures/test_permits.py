"""Permits that nobody should obey: forged, replayed, kept for later, for another program, from another shield."""

import dataclasses
import time

import industriverse_msgs.msg as im
from industriverse_core.permit import Permit, sign
from industriverse_ros import convert, names, qos

from ..conftest import EXAMPLES, MACHINE


def test_recorded_and_forged_permits_move_nothing_after_the_shield_is_gone(cells):
    cell = cells(speed=1.0, respawn=False)
    cell.ready()
    cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    recorded = [permit for _, permit in cell.permits]
    digest = convert.digest_from_msg(recorded[-1].program_digest)
    cell.kill("shield")
    attacker = cell.node.create_publisher(im.MotionPermit, names.permit(MACHINE), qos.PERMIT)
    last = convert.permit_from_msg(recorded[-1])
    end_s = time.monotonic() + 4.0
    number = 0
    while time.monotonic() < end_s:
        number += 1
        ahead = dataclasses.replace(last, sequence=last.sequence + number, challenge=cell.telemetry.challenge)
        attacker.publish(recorded[number % len(recorded)])  # replayed
        attacker.publish(convert.permit_to_msg(ahead, 0.0))  # stretched: old MAC over new fields
        attacker.publish(convert.permit_to_msg(sign(ahead, b"x" * 32), 0.0))  # forged with another key
        cell.step(0.03)
    stopped_s = cell.journal.last_motion_s()
    killed_by_s = end_s - 4.0
    assert stopped_s <= killed_by_s + 0.15 + 0.25
    assert cell.telemetry.state == im.MachineTelemetry.LATCHED
    assert bytes(bytearray(digest)) == digest


def test_an_authentic_permit_for_a_foreign_program_moves_nothing(cells):
    """Even the holder of the key cannot move one program with the permit of another."""
    cell = cells(speed=1.0)
    cell.ready()
    key = cell.paths.key.read_bytes()
    attacker = cell.node.create_publisher(im.MotionPermit, names.permit(MACHINE), qos.PERMIT)
    commands = len(cell.journal.motion_commands())
    for sequence in range(1, 60):
        permit = Permit(MACHINE, time.time_ns(), sequence, cell.telemetry.challenge, b"\x07" * 32)
        attacker.publish(convert.permit_to_msg(sign(permit, key), 0.0))
        cell.step(0.03)
    assert len(cell.journal.motion_commands()) == commands
