"""The virtual mill's buffers, planner and probe, without a process."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_rigs import Mill

from machine_node.virtual.grbl_motion import GrblMotion, Limits

LIMITS = Limits((0.0333, 0.0333, 0.0166), (0.1, 0.1, 0.05), 1e-5)


# --- buffers ---


def test_the_receive_buffer_overflows_at_128_bytes():
    mill = Mill()
    mill.send("!")
    mill.send("G4 P0\n" * 21)  # 126 bytes
    assert mill.firmware.overflowed_bytes == 0
    mill.send("G4 P0\n")
    assert mill.firmware.overflowed_bytes == 4
    mill.send("~")
    assert mill.wait(1.0) == ["ok"] * 21


def test_ok_comes_when_the_line_is_in_the_planner():
    mill = Mill()
    for step in range(1, 20):
        mill.send(f"G91 G1 X-1 F{50 + step}\n"[: 128 // 2])
    said = mill.wait(0.02)
    assert said.count("ok") == 15
    assert mill.firmware.motion.free == 0
    mill.idle()
    assert mill.place()[0] == -20.0


def test_a_sender_that_counts_characters_never_overflows_and_never_stutters(tmp_path):
    mill = Mill(journal=tmp_path / "journal")
    mill.ask("G91 G1 F1800 X-1")
    lines = [f"G1X{-0.5 if number < 250 else 0.4:.1f}\n" for number in range(500)]
    waiting, sent, fed, slowest = [], 0, 0, 1.0
    while sent < len(lines) or waiting:
        while sent < len(lines) and fed + len(lines[sent]) < 128:
            mill.send(lines[sent])
            waiting.append(len(lines[sent]))
            fed += len(lines[sent])
            sent += 1
        for _ in range(mill.wait(0.01).count("ok")):
            fed -= waiting.pop(0)
        if 50 < sent < 200:
            slowest = min(slowest, mill.firmware.motion.speed_m_s(mill.now))
    mill.idle()
    assert mill.firmware.overflowed_bytes == 0
    assert len(mill.events("move")) == 501
    # fifteen blocks of 0.5 mm are the look-ahead: v^2 = 2 a s, and no less
    assert slowest > 0.99 * min(0.03, math.sqrt(2 * 0.1 * 13 * 0.5e-3))
    assert mill.place()[0] == pytest.approx(-1.0 - 1.0 - 125.0 + 100.0, abs=1e-3)


# --- motion ---


def finish(motion):
    now, ended = 0.0, []
    motion._on_done = lambda at, block: ended.append(at)
    motion.start(0.0)
    while not motion.empty:
        now = motion.next_end_s()
        motion.advance(now)
    return ended[-1]


def test_one_move_takes_its_trapezoid():
    motion = GrblMotion(LIMITS, 15, 15)
    motion.add((0.1, 0.0, 0.0), 0.02)
    assert finish(motion) == pytest.approx(0.1 / 0.02 + 0.02 / 0.1, rel=1e-9)


def test_a_corner_is_taken_at_junction_deviation_speed():
    motion, speeds = GrblMotion(LIMITS, 15, 15), []
    motion.add((0.05, 0.0, 0.0), 0.03)
    motion.add((0.05, 0.05, 0.0), 0.03)
    motion._on_done = lambda at, block: speeds.append(motion._speed_m_s)
    motion.start(0.0)
    while not motion.empty:
        motion.advance(motion.next_end_s())
    half = math.sin(math.radians(45.0))  # of the angle between the two directions
    turn = 0.1 * math.sqrt(2.0)  # both axes have 0.1 m/s^2
    assert speeds[0] == pytest.approx(math.sqrt(turn * 1e-5 * half / (1 - half)), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(0.001, 0.05)), min_size=1, max_size=14
    ),
    st.lists(st.tuples(st.floats(0.0, 8.0), st.sampled_from(["hold", "go", 0.5, 2.0])), max_size=6),
)
def test_speed_never_jumps_and_the_end_is_reached_whatever_is_done(moves, acts):
    motion = GrblMotion(LIMITS, 15, 15)
    for x, y, feed in moves:
        motion.add((x, y, 0.0), feed)
    end = motion.target_m
    motion.start(0.0)
    acts, now, speed = sorted(acts, key=lambda act: act[0]), 0.0, 0.0
    for _ in range(200_000):
        while acts and acts[0][0] <= now:
            act = acts.pop(0)[1]
            if act == "hold":
                motion.hold(now)
            elif act == "go":
                motion.release()
                motion.start(now)
            else:
                motion.feed_override = act
                motion.replan(now)
        if not motion.moving:
            motion.release()
            motion.start(now)
        if motion.empty:
            break
        now += 2e-3
        motion.advance(now)
        new = motion.speed_m_s(now)
        # along a path the acceleration is at most that of both axes together; a corner may add its turn's
        assert abs(new - speed) <= 0.1 * math.sqrt(2) * 2e-3 * 2.1 + 1e-6
        speed = new
    assert motion.empty
    assert motion.position_m(now) == pytest.approx(end, abs=1e-9)


def test_arcs_stay_on_their_circle():
    mill = Mill()
    mill.ask("G0 X50 Y50 Z5")
    mill.idle()
    mill.send("G2 X50 Y50 I10 J0 F1500\n")
    seen = []
    while mill.firmware.cycle.state.value != "Idle" or len(seen) < 3:
        mill.wait(0.05)
        x, y, _ = mill.place()
        seen.append(math.hypot(x + 300 - 60, y + 180 - 50))
    assert min(seen) > 9.99
    assert max(seen) < 10.001
    assert len(seen) * 0.05 == pytest.approx(2 * math.pi * 10 / 25, rel=0.2)


def test_radius_arcs_and_helices_end_where_they_say():
    mill = Mill()
    mill.ask("G0 X50 Y50 Z5")
    mill.idle()
    for line in ("G2 X60 Y50 R5 F1000", "G3 X60 Y60 R-8", "G18 G2 X70 Z5 R5", "G17 G3 X50 Y40 Z0 I0 J-20"):
        mill.send(line + "\n")
        assert mill.idle() == ["ok"], line
    assert mill.place() == [-250.0, -140.0, -40.0]


def test_every_motion_is_executed_once_and_in_order(tmp_path):
    mill = Mill(journal=tmp_path / "journal")
    lines = [f"N{10 * number} G1 X{number % 7} Y{number % 3} F1900" for number in range(1, 60)]
    lines[20] = "N210 G1"  # moves nothing, and is no motion
    lines[30] = lines[29].replace("N300", "N310")  # a motion without length
    answered = 0
    for line in lines:
        mill.send(line + "\n")
        for _ in range(4000):
            answered += mill.wait(0.02).count("ok")
            if mill.firmware.motion.free:
                break
    mill.idle()
    moved = [event["line"] for event in mill.events("move")]
    assert moved == [10 * number for number in range(1, 60) if number != 21]


def test_a_reset_tells_which_motions_were_dropped(tmp_path):
    mill = Mill(journal=tmp_path / "journal")
    mill.send("G91 G1 X-50 F1000\nG1 X-10\nG1 X-10\n")
    mill.wait(1.0)
    mill.send("\x18")
    mill.wait(1.0)
    numbers = [event["number"] for event in mill.events("rx")]
    assert mill.events("dropped")[0]["numbers"] == numbers[-3:]


def test_each_motion_is_executed_or_dropped_and_never_both(tmp_path):
    """Resets, jogs that are cancelled, soft limits, arcs and moves without length; the journal accounts for all."""
    mill = Mill(journal=tmp_path / "journal")
    mill.ask("$20=1")
    mill.send("G91 G1 X-9 F900\nG1 X0\nG2 X-20 I-10 F600\n" + "G1 X-1\n" * 12)
    mill.wait(1.0)
    mill.send("\x18")
    mill.wait(1.0)
    mill.ask("$X")
    mill.ask("$J=G91 X-5 F900\n$J=G91 X-20 F900", 1.0)
    mill.send(b"\x85")
    mill.wait(1.0)
    mill.send("G91 G1 X-4 F900\nG1 X500\n")
    mill.wait(3.0)
    mill.send("\x18")
    mill.wait(1.0)
    moved = [event["number"] for event in mill.events("move")]
    dropped = [number for event in mill.events("dropped") for number in event["numbers"]]
    commanded = [event["number"] for event in mill.events("rx") if "X" in event["line"] and event["line"] != "$X"]
    assert sorted(moved + dropped) == commanded
    assert moved == sorted(moved)
    assert {event["cause"] for event in mill.events("dropped")} == {"reset", "jog_cancel", "alarm"}


# --- probing ---


def test_a_probe_finds_the_stocks_surface():
    mill = Mill()
    mill.ask("G0 X10 Y10 Z5")
    mill.idle()
    mill.send("G38.2 Z-3 F60\n")
    assert mill.wait(20.0) == ["[PRB:-290.000,-170.000,-40.000:1]", "ok"]
    x, y, z = mill.place()
    assert (x, y) == (-290.0, -170.0)
    assert -40.1 < z <= -40.0
    assert mill.status()["Pn"] == "P"
    assert mill.ask("G38.2 Z-3 F60", 1.0)[0] == "ALARM:4"


def test_a_probe_that_finds_nothing_is_an_alarm_or_not():
    mill = Mill()
    mill.ask("G0 X10 Y10 Z5")
    mill.idle()
    assert mill.ask("G38.3 Z2 F600", 5.0) == ["[PRB:-290.000,-170.000,-38.000:0]", "ok"]
    said = mill.ask("G38.2 Z1 F600", 5.0)
    assert (said[0], said[-1]) == ("ALARM:5", "ok")
    assert mill.ask("G0 X0") == ["error:9"]
