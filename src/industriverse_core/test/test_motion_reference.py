"""The compiled planner against a slow one in plain Python, and against the times that real planners give."""

import csv
import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.machine import load_machine
from industriverse_core.motion import horizon, plan_motion
from industriverse_core.program import Limit, Op, Plane, build_program
from industriverse_core.units import filament_area_m2

PRINTER, ENDER, VORON, MILL = (load_machine(name) for name in ("prusa_mk3s", "ender3", "voron_24", "grbl_mill"))
AREA = filament_area_m2(1.75e-3)
STOPS = (Op.DWELL, Op.WAIT_HEATER, Op.HOME)
AXES = {Plane.XY: (0, 1, 2), Plane.ZX: (2, 0, 1), Plane.YZ: (1, 2, 0)}


def with_kinematics(profile, **changes):
    return profile.model_copy(update={"kinematics": profile.kinematics.model_copy(update=changes)})


# --- the slow planner: one move, one dictionary; written from the firmware's rules, not from the kernels ------------


def segments_of_arc(planner, kinematics, radius, sweep, length):
    if planner == "junction_deviation":
        tolerance = 2e-6
        chord = math.sqrt(tolerance * max(2 * radius - tolerance, tolerance))
        return max(1, math.floor(0.5 * abs(sweep) * radius / chord))
    count = max(1, math.floor(length / kinematics.arc_resolution))
    if planner == "classic_jerk":
        count = max(count, math.ceil(kinematics.circle_segments * abs(sweep) / (2 * math.pi) - 1e-9))
    return count


def pieces_of(row, start, end, kinematics):
    """(start, end, length, share of the filament) of each straight piece of a row."""
    if row["op"] != Op.ARC_FEED:
        length = math.dist(start, end)
        return [(start, end, length, 1.0)]
    a, b, normal = AXES[row["target"]]
    c1, c2, turns = row["center_1_m"], row["center_2_m"], row["turns"]
    begin, finish = (math.atan2(p[b] - c2, p[a] - c1) for p in (start, end))
    sweep = (finish - begin) * math.copysign(1, turns) % (2 * math.pi)
    sweep = (sweep if sweep >= 1e-9 else 2 * math.pi) + 2 * math.pi * (abs(turns) - 1)
    sweep *= math.copysign(1, turns)
    r0, r1 = (math.hypot(p[a] - c1, p[b] - c2) for p in (start, end))
    length = math.hypot(0.5 * (r0 + r1) * sweep, end[normal] - start[normal])
    count = segments_of_arc(kinematics.planner, kinematics, 0.5 * (r0 + r1), sweep, length)
    points = [start]
    for part in range(1, count):
        point, share = [0.0, 0.0, 0.0], part / count
        radius, angle = r0 + share * (r1 - r0), begin + share * sweep
        point[a], point[b] = c1 + radius * math.cos(angle), c2 + radius * math.sin(angle)
        point[normal] = start[normal] + share * (end[normal] - start[normal])
        points.append(tuple(point))
    points.append(end)
    return [(p, q, length / count, 1 / count) for p, q in pairwise(points)]


def blocks_of(program, profile):
    """Straight pieces with their unit vectors, feeds and the limits in force, in order."""
    limits = starting_limits(profile)
    klipper = profile.kinematics.planner == "square_corner"
    start, rest, blocks, run = (0.0, 0.0, 0.0), True, [], {}
    for index in range(len(program)):
        row = {name: column[index].item() for name, column in program.columns.items()}
        end = (row["x_m"], row["y_m"], row["z_m"])
        if row["op"] != Op.SET_LIMIT:
            run = {}
        elif not klipper:
            limits = {**limits, Limit(row["target"]): row["value"]}
        else:
            run[row["target"]] = row["value"]
            if {Limit.PRINT_ACCELERATION, Limit.TRAVEL_ACCELERATION} <= set(run):
                lower = min(run[Limit.PRINT_ACCELERATION], run[Limit.TRAVEL_ACCELERATION])
                limits = {**limits, Limit.PRINT_ACCELERATION: lower}
        if row["op"] in STOPS:
            rest = True
        if Op.STRAIGHT_TRAVERSE <= row["op"] <= Op.ARC_FEED:
            for p, q, length, share in pieces_of(row, start, end, profile.kinematics):
                filament = row["extrude_m3"] / AREA * share
                chord = math.dist(p, q)
                path = chord > 0
                length = length if path else abs(filament)
                if length == 0:
                    continue
                unit = [(v - u) / (chord or 1.0) for u, v in zip(p, q, strict=True)] + [filament / length]
                blocks.append({
                    "row": index, "length": length, "unit": unit, "path": path, "feed": row["feed_m_s"], "rest": rest,
                    "limits": limits,
                })  # fmt: skip
                rest = False
        start = end
    return blocks


def starting_limits(profile):
    k, e = profile.kinematics, profile.extruder
    limits = {
        Limit.PRINT_ACCELERATION: k.print_acceleration, Limit.TRAVEL_ACCELERATION: k.travel_acceleration,
        Limit.RETRACT_ACCELERATION: e.retract_acceleration if e else math.inf,
        Limit.ACCELERATION_E: e.max_acceleration if e else math.inf, Limit.SPEED_E: e.max_speed if e else math.inf,
        Limit.JERK_E: e.jerk if e else math.inf, Limit.JUNCTION_DEVIATION: k.junction_deviation,
    }  # fmt: skip
    for number, axis in enumerate(k.axes()):
        limits[Limit(Limit.ACCELERATION_X + number)] = axis.max_acceleration
        limits[Limit(Limit.SPEED_X + number)] = axis.max_speed
        limits[Limit(Limit.JERK_X + number)] = axis.jerk
    return limits


def axis_limit(block, first, value):
    for axis in range(4):
        share = abs(block["unit"][axis])
        if share > 0:
            value = min(value, block["limits"][Limit(first + axis)] / share)
    return value


def marlin_junction(before, block):
    """The firmware's own loop over the axes."""
    safe, limited = block["nominal"], False
    for axis in range(4):
        jerk, most = abs(block["unit"][axis] * block["nominal"]), block["limits"][Limit(Limit.JERK_X + axis)]
        if jerk > most:
            if limited:
                if jerk * safe > most * block["nominal"]:
                    safe = most * block["nominal"] / jerk
            else:
                safe, limited = most, True
    block["safe"] = safe
    if block["rest"]:
        return safe
    factor, speed = 1.0, min(before["nominal"], block["nominal"])
    for axis in range(4):
        leaving = before["unit"][axis] * speed * factor
        entering = block["unit"][axis] * block["nominal"] * factor
        if leaving > entering:
            jerk = leaving - entering if entering > 0 or leaving < 0 else max(leaving, -entering)
        else:
            jerk = entering - leaving if entering < 0 or leaving > 0 else max(-leaving, entering)
        most = block["limits"][Limit(Limit.JERK_X + axis)]
        if jerk > most:
            factor *= most / jerk
    speed *= factor
    return safe if before["safe"] > 0.99 * speed and safe > 0.99 * speed else speed


def grbl_junction(before, block):
    if block["rest"]:
        return 0.0
    cosine = sum(-u * v for u, v in zip(before["unit"][:3], block["unit"][:3], strict=True))
    speed = min(before["nominal"], block["nominal"])
    if cosine > 0.999999:
        return 0.0
    turn = [v - u for u, v in zip(before["unit"][:3], block["unit"][:3], strict=True)]
    norm = math.sqrt(sum(x * x for x in turn))
    shares = [(abs(x) / norm, axis) for axis, x in enumerate(turn) if abs(x) > 1e-9 and norm > 0]
    sine = math.sqrt(max(0.0, 0.5 * (1 - cosine)))
    if not shares or sine > 0.9999999:
        return speed
    acceleration = min(block["limits"][Limit(Limit.ACCELERATION_X + axis)] / share for share, axis in shares)
    return min(speed, math.sqrt(acceleration * block["limits"][Limit.JUNCTION_DEVIATION] * sine / (1 - sine)))


def slow_plan(program, profile):
    """Duration of each row [s], by the definition: whatever is planned must still be able to stop."""
    blocks, planner = blocks_of(program, profile), profile.kinematics.planner
    before = None
    for block in blocks:
        rapid = min(profile.kinematics.rapid_speed / abs(u) for u in (*block["unit"][:3], 1e-12) if u)
        block["nominal"] = axis_limit(block, Limit.SPEED_X, rapid if math.isnan(block["feed"]) else block["feed"])
        if planner == "junction_deviation":
            block["a"] = axis_limit(block, Limit.ACCELERATION_X, math.inf)
            block["entry"] = grbl_junction(before, block)
        else:
            limits = block["limits"]
            kind = Limit.PRINT_ACCELERATION if block["unit"][3] else Limit.TRAVEL_ACCELERATION
            block["a"] = limits[Limit.RETRACT_ACCELERATION]
            if block["path"]:
                block["a"] = axis_limit(block, Limit.ACCELERATION_X, limits[kind])
            block["entry"] = marlin_junction(before, block)
        before = block
    highest = []
    for k in range(len(blocks)):
        window, speed = blocks[k : k + horizon(profile)], 0.0
        ends = [n for n, block in enumerate(window) if n and block["rest"]]
        for block in reversed(window[: ends[0]] if ends else window):
            speed = min(block["entry"], math.sqrt(speed**2 + 2 * block["a"] * block["length"]))
        highest.append(speed)
    durations, v0 = np.zeros(len(program)), highest[0] if blocks else 0.0
    for k, block in enumerate(blocks):
        last = k + 1 == len(blocks) or blocks[k + 1]["rest"]
        reach = math.sqrt(v0**2 + 2 * block["a"] * block["length"])
        following = 0.0 if last else min(highest[k + 1], reach)
        durations[block["row"]] += ramp_time(block, v0, min(following, block["nominal"]))
        v0 = highest[k + 1] if last and k + 1 < len(blocks) else following
    return durations


def ramp_time(block, v0, v1):
    a, length, top = block["a"], block["length"], block["nominal"]
    flat = length - (2 * top**2 - v0**2 - v1**2) / (2 * a)
    if flat < 0:
        top, flat = max(v0, v1, math.sqrt(a * length + 0.5 * (v0**2 + v1**2))), 0.0
    return (2 * top - v0 - v1) / a + flat / top


def klipper_moves(program, profile):
    """Klipper's Move objects: limits, and junctions with the move before."""
    k, e = profile.kinematics, profile.extruder
    before, moves = None, blocks_of(program, profile)
    for move in moves:
        unit, length, accel = move["unit"], move["length"], move["limits"][Limit.PRINT_ACCELERATION]
        speed = min(k.x.max_speed, k.y.max_speed) if math.isnan(move["feed"]) else move["feed"]
        move["a"], smooth = (accel, accel * (1 - k.minimum_cruise_ratio)) if move["path"] else (99999.9999, 99999.9999)
        if move["path"]:
            speed = min(speed, k.x.max_speed, k.y.max_speed)
            if unit[2]:
                speed = min(speed, k.z.max_speed / abs(unit[2]))
                move["a"] = min(move["a"], k.z.max_acceleration / abs(unit[2]))
        if unit[3] and (unit[3] < 0 or (unit[0] == 0 and unit[1] == 0)):
            speed = min(speed, e.max_speed / abs(unit[3]))
            move["a"] = min(move["a"], e.max_acceleration / abs(unit[3]))
        move["v2"], move["delta"] = speed**2, 2 * move["a"] * length
        move["smooth_delta"] = 2 * min(smooth, move["a"]) * length
        move["jd"] = k.square_corner_velocity**2 * (math.sqrt(2) - 1) / accel
        move["start"] = move["smoothed"] = 0.0
        if not move["rest"] and move["path"] and before["path"]:
            klipper_junction(before, move, e.jerk)
        before = move
    return moves


def klipper_junction(before, move, corner_v):
    cosine = -sum(u * v for u, v in zip(before["unit"][:3], move["unit"][:3], strict=True))
    if cosine > 0.999999:
        return
    limits = [move["v2"], before["v2"], before["start"] + before["delta"]]
    if move["unit"][3] != before["unit"][3]:
        limits.append((corner_v / (move["unit"][3] - before["unit"][3])) ** 2)
    sine, half = math.sqrt(max(0.5 * (1 - cosine), 0.0)), math.sqrt(max(0.5 * (1 + cosine), 0.0))
    if sine < 1 and half > 0:
        radius, tangent = sine / (1 - sine), 0.25 * sine / half
        limits += [radius * move["jd"] * move["a"], radius * before["jd"] * before["a"]]
        limits += [tangent * move["delta"], tangent * before["delta"]]
    move["start"] = min(limits)
    move["smoothed"] = min(move["start"], before["smoothed"] + before["smooth_delta"])


def slow_klipper(program, profile):
    """Klipper's LookAheadQueue.flush over the whole queue; duration of each row [s]."""
    moves, delayed = klipper_moves(program, profile), []
    next_end = next_smoothed = peak = 0.0
    for move in reversed(moves):
        reachable, smooth_reach = next_end + move["delta"], next_smoothed + move["smooth_delta"]
        start, smoothed = min(move["start"], reachable), min(move["smoothed"], smooth_reach)
        if smoothed < smooth_reach:
            if smoothed + move["smooth_delta"] > next_smoothed or delayed:
                peak = min(move["v2"], 0.5 * (smoothed + smooth_reach))
                cruise = peak
                for other, other_start, other_end in reversed(delayed):
                    cruise = min(cruise, other_start)
                    other["speeds"] = min(other_start, cruise), cruise, min(other_end, cruise)
                delayed = []
            cruise = min(0.5 * (start + reachable), move["v2"], peak)
            move["speeds"] = min(start, cruise), cruise, min(next_end, cruise)
        else:
            delayed.append((move, start, next_end))
        next_end, next_smoothed = start, smoothed
    durations = np.zeros(len(program))
    for move in moves:
        v0, top, v1 = (math.sqrt(v2) for v2 in move["speeds"])
        flat = move["length"] - (2 * top**2 - v0**2 - v1**2) / (2 * move["a"])
        durations[move["row"]] += (2 * top - v0 - v1) / move["a"] + max(0.0, flat) / top
    return durations


# --- compiled against slow -----------------------------------------------------------------------------------------

places = st.integers(0, 40).map(lambda mm: mm * 1e-3)
feeds = st.sampled_from([2e-3, 0.02, 0.07, 0.3, math.nan])
lines = st.builds(
    lambda x, y, z, feed, e: {
        "op": Op.STRAIGHT_FEED, "x_m": x, "y_m": y, "z_m": 0.05 * z, "feed_m_s": feed, "extrude_m3": e * 1e-4 * AREA
    },
    places, places, places, feeds, st.sampled_from([0, 0, 3, 8, -5]),
)  # fmt: skip
retracts = st.builds(
    lambda e: {"op": Op.STRAIGHT_FEED, "feed_m_s": 0.035, "extrude_m3": e * 1e-3 * AREA}, st.integers(-3, 3)
)
arcs = st.builds(
    lambda x, y, c1, c2, turns, feed, plane: {
        "op": Op.ARC_FEED, "x_m": x, "y_m": y, "center_1_m": c1 + 3e-4, "center_2_m": c2 + 7e-4, "turns": turns,
        "feed_m_s": feed, "target": plane, "extrude_m3": 5e-4 * AREA,
    },
    places, places, places, places, st.sampled_from([1, -1, 2]), st.sampled_from([0.02, 0.07]),
    st.sampled_from(list(Plane)),
)  # fmt: skip
limits = st.builds(
    lambda limit, value: {"op": Op.SET_LIMIT, "target": limit, "value": value},
    st.sampled_from([
        Limit.PRINT_ACCELERATION, Limit.TRAVEL_ACCELERATION, Limit.ACCELERATION_X, Limit.SPEED_Y, Limit.JERK_X,
        Limit.JERK_E,
    ]),
    st.sampled_from([0.03, 0.4, 2.0]),
)  # fmt: skip
waits = st.sampled_from([{"op": Op.DWELL, "value": 0.25}, {"op": Op.WAIT_HEATER, "value": 200.0}])
rows = st.lists(st.one_of(lines, lines, lines, retracts, arcs, limits, waits), min_size=1, max_size=40)
LONG_VORON = with_kinematics(VORON, arc_resolution=2e-3)


def program_for(profile, table):
    """A mill has no filament."""
    feeding = profile.extruder is not None
    return build_program([{**row, "extrude_m3": row.get("extrude_m3", 0.0) * feeding} for row in table])


@settings(max_examples=150, deadline=None)
@given(rows, st.sampled_from([PRINTER, ENDER, MILL]))
def test_marlin_and_grbl_plan_as_the_slow_planner(table, profile):
    program = program_for(profile, table)
    slow = slow_plan(program, profile) + np.where(program.op == Op.DWELL, program.value, 0.0)
    plan = plan_motion(program, profile)
    assert plan.duration_s == pytest.approx(slow, rel=1e-9, abs=1e-9)
    assert plan.total_s == pytest.approx(slow.sum(), rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(rows, st.sampled_from([0.0, 0.5, 0.9]))
def test_klipper_plans_as_the_slow_planner(table, ratio):
    profile = with_kinematics(LONG_VORON, minimum_cruise_ratio=ratio)
    program = program_for(profile, table)
    slow = slow_klipper(program, profile) + np.where(program.op == Op.DWELL, program.value, 0.0)
    assert plan_motion(program, profile).duration_s == pytest.approx(slow, rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(rows, st.sampled_from([PRINTER, MILL, LONG_VORON]))
def test_a_row_is_one_trapezoid_of_its_length_and_duration(table, profile):
    plan = plan_motion(program_for(profile, table), profile)
    moving = plan.duration_s > 0
    moving &= plan.length_m > 0
    v0, v, v1, a, t, length = (
        getattr(plan, name)[moving]
        for name in ("entry_m_s", "cruise_m_s", "exit_m_s", "acceleration_m_s2", "duration_s", "length_m")
    )
    flat = t - (2 * v - v0 - v1) / a
    assert length == pytest.approx((2 * v**2 - v0**2 - v1**2) / (2 * a) + flat * v, rel=1e-6, abs=1e-10)
    assert np.all(flat >= -1e-9)
    assert np.all(np.maximum(v0, v1) <= v * (1 + 1e-9))


@settings(max_examples=60, deadline=None)
@given(st.lists(lines, min_size=2, max_size=15), st.integers(0, 14), st.sampled_from([PRINTER, MILL, VORON]))
def test_a_stop_between_two_moves_never_saves_time(table, where, profile):
    stop = {"op": Op.WAIT_HEATER, "value": 200.0}
    stopped = [*table[: where % len(table)], stop, *table[where % len(table) :]]
    whole = plan_motion(program_for(profile, table), profile).total_s
    assert plan_motion(program_for(profile, stopped), profile).total_s >= whole * (1 - 1e-9)


# --- against real planners -----------------------------------------------------------------------------------------


def limit_of(row, column, letters, default):
    found = re.search(rf"[{letters}]([\d.]+)", row[column])
    return float(found.group(1)) if found else default


def profile_of(row, **kinematics):
    """The limits that a file itself sets; the filament's retraction is not among them."""
    base, retraction = PRINTER.kinematics, kinematics.pop("retraction")
    axes = {
        name: getattr(base, name).model_copy(
            update={
                "max_speed": limit_of(row, "M203", name.upper(), 12.0 if name == "z" else 200.0) * 1e-3,
                "max_acceleration": limit_of(row, "M201", name.upper(), 200.0) * 1e-3,
                "jerk": limit_of(row, "M205", name.upper(), 8.0) * 1e-3,
            }
        )
        for name in "xyz"
    }
    acceleration = limit_of(row, "M204", "SP", 1250.0) * 1e-3
    extruder = PRINTER.extruder.model_copy(
        update={
            "max_speed": limit_of(row, "M203", "E", 120.0) * 1e-3, "max_acceleration": retraction,
            "retract_acceleration": retraction, "jerk": limit_of(row, "M205", "E", 4.5) * 1e-3,
        }
    )  # fmt: skip
    changes = {"print_acceleration": acceleration, "travel_acceleration": acceleration, **axes, **kinematics}
    return with_kinematics(PRINTER, **changes).model_copy(update={"extruder": extruder})


def labelled(reference_data):
    """Rows of the labels and their programs as the labels' planners read them.

    Both take T of M204 for the travel's, not the retraction's; neither carries out M221.
    """
    from industriverse_core.gcode import read_gcode

    folder = reference_data / "gcode" / "fdm"
    with (folder / "LABELS.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["marlin_planner_s"]]
    for row in rows:
        text = (folder / row["file"]).read_bytes()
        text = re.sub(rb"(?m)^M204 S(\S+) T", rb"M204 P\1 T", text)
        yield row, read_gcode(re.sub(rb"(?m)^M221", b";M221", text), row["file"])


def test_times_against_the_marlin_planner(reference_data):
    """3 m/s^2 is Marlin's default for retraction; 20 segments a circle are Prusa's."""
    errors, slicer = {}, {}
    for row, program in labelled(reference_data):
        profile = profile_of(row, retraction=3.0, planner="classic_jerk", circle_segments=20)
        total = plan_motion(program, profile).total_s
        errors[row["file"]] = total / float(row["marlin_planner_s"]) - 1
        slicer[row["file"]] = total / float(row["est_normal_s"]) - 1
    assert len(errors) == 14
    assert np.median(np.abs(list(errors.values()))) <= 0.005
    assert {name: round(error, 4) for name, error in errors.items() if abs(error) > 0.01} == {}
    assert {name: round(error, 4) for name, error in slicer.items() if abs(error) > 0.025} == {}


def test_times_by_klippers_rules(reference_data):
    """1.25 m/s^2 is the labels' value for filament alone."""
    errors = {}
    for row, program in labelled(reference_data):
        profile = profile_of(
            row, retraction=1.25, planner="square_corner", minimum_cruise_ratio=0.0, arc_resolution=1e-4,
            square_corner_velocity=limit_of(row, "M205", "X", 8.0) * 1e-3,
        )  # fmt: skip
        errors[row["file"]] = plan_motion(program, profile).total_s / float(row["klipper_planner_s"]) - 1
    assert len(errors) == 14
    assert {name: round(error, 5) for name, error in errors.items() if abs(error) > 0.001} == {}
