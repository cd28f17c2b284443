"""Origins (G10, G28, G53 to G59.3, G92) and feed modes (G93, G95) of RS274 programs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.controller import WORK_SYSTEMS, Controller
from industriverse_core.gcode import read_gcode
from industriverse_core.gcode.offsets import Frames
from industriverse_core.machine import load_machine
from industriverse_core.program import Op

NAN = math.nan
MACHINE = Controller({"G54": (-0.1, -0.2, -0.03)}, g28_m=(-0.01, -0.01, 0.0))  # its zero is at (100, 200, 30) in G54


def rs274(text: str, controller: Controller | None = None):
    return read_gcode(("G21\n" + text).encode(), "test", "rs274", controller)


def x_mm(text: str, controller: Controller | None = None) -> list[float]:
    program = rs274(text, controller)
    assert not [note for note in program.notes if note.kind != "ignored"], program.notes
    return (program.x_m * 1e3).round(6).tolist()


def refusal(text: str, controller: Controller | None = None) -> tuple[str, str]:
    program = rs274(text, controller)
    assert program.op[-1] == Op.UNKNOWN
    note = [note for note in program.notes if note.kind != "ignored"][-1]
    return note.kind, note.reason


# --- work coordinate systems ----------------------------------------------------------------------------


@pytest.mark.parametrize("system", WORK_SYSTEMS)
def test_the_system_of_the_first_motion_is_the_programs_frame(system):
    assert x_mm(f"{system}\nG0 X5\n{system} X6") == [5, 6]
    assert x_mm(f"G54\n{system} G0 X5") == [5]


def test_a_system_of_which_the_origin_is_not_known_takes_no_coordinates():
    assert refusal("G0 X5\nG55\nX6") == ("unsupported", "the origin of G55 on X is not known from the program")
    assert refusal("G0 X5\nG55\nG90.1 G2 X5 I6 J0 F60")[0] == "unsupported"
    assert refusal("G0 X5\nG55\nG98 G81 Y1 Z-1 R1 F60")[0] == "unsupported"
    assert x_mm("G0 X5\nG55 G91\nX6\nG90 G54 X1") == [5, 11, 1]  # increments need no origin


def test_an_unknown_origin_ends_with_g92_or_a_touch_off():
    assert x_mm("G0 X5\nG55\nG92 X1\nG0 X2") == [5, 6]
    assert x_mm("G0 X5\nG55\nG10 L20 P2 X1\nG0 X2\nG54 X2") == [5, 6, 2]
    assert refusal("G0 X5\nG55\nG92 X1\nG92.1\nG0 X2")[0] == "unsupported"
    assert refusal("G0 X5\nG55\nG92 X1\nG0 Y2")[0] == "unsupported"


def test_a_local_offset_is_in_the_place_of_g92s():
    """G52 says the offset itself, not a coordinate (LinuxCNC's manual)."""
    assert x_mm("G0 X5\nG52 X10\nX1\nG52 X0\nX1") == [5, 11, 1]
    assert x_mm("G0 X5\nG92 X1\nG52 X10\nX1") == [5, 11]
    assert x_mm("G0 X5\nG52 X10\nG92.2\nX1\nG92.3\nX1") == [5, 1, 11]
    assert x_mm("G20\nG52 X1\nG21 G0 X1") == [26.4]
    assert refusal("G52")[0] == "malformed"
    assert refusal("G0 X1 G52 X1")[0] == "malformed"


def test_a_touch_off_places_a_system_at_the_tool():
    assert x_mm("G0 X10\nG10 L20 P1 X0\nX1\nG10 L20 P0 X5\nX6") == [10, 11, 12]
    assert x_mm("G0 X10\nG10 L20 P3 X2\nG56 X3\nG54 X3") == [10, 11, 3]
    assert x_mm("G92 X7\nG0 X8\nG10 L20 P1 X0\nX1") == [1, 2]  # the offset of G92 stays


def test_origins_in_machine_coordinates_are_known_from_each_other():
    """G54 at machine 100, G55 at machine 130: 30 apart, wherever the machine's zero is."""
    origins = "G10 L2 P1 X100\nG10 L2 P2 X130\n"
    assert x_mm(origins + "G0 X5\nG55 X5\nG54 X6") == [5, 35, 6]
    assert x_mm("G10 L2 P2 X130\nG10 L2 P1 X100\nG0 X5\nG55 X5") == [5, 35]
    assert x_mm(origins + "G55 G0 X5\nG54 X5") == [5, -25]  # G55 is the frame: its Y and Z are not known from G54's
    everywhere = "G10 L2 P1 X100 Y0 Z0\nG10 L2 P2 X130 Y0 Z0\n"
    assert x_mm(everywhere + "G55 G0 X5\nG54 X5") == [35, 5]
    assert x_mm(origins + "G0 X5\nG53 X100") == [5, 0]
    assert refusal("G0 X5\n" + origins + "X6")[0] == "unsupported"  # moved from an unknown origin to a stated one
    assert x_mm(origins + "G0 X5\nG10 L2 P1 X110\nX5") == [5, 15]


def test_origins_are_in_the_unit_in_force():
    assert x_mm("G10 L2 P1 X100\nG20\nG10 L2 P2 X5\nG21\nG0 X0\nG55 X1") == [0, 28]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("G10 L2 X1", "malformed"), ("G10 P1 X1", "malformed"), ("G10 L2 P10 X1", "malformed"),
        ("G10 L2 P1.5 X1", "malformed"), ("G10 L2 P-1 X1", "malformed"), ("G10 L2 P1", "malformed"),
        ("G10 L2 P1 X1 G0", "malformed"), ("G10 L2 P1 X1 R30", "unsupported"), ("G10 L3 P1 Z1", "unsupported"),
        ("G10 L1 P1 X1", "unsupported"), ("G10 L1 Z1", "malformed"),
        ("G10 L20 P1 A5", "unsupported"), ("G10 L2 P1 X1 Q4", "malformed"), ("G54 G55", "malformed"),
        ("G10 L2 P1 X1 G4 P2", "malformed"), ("G10 L2.5 P1 X1", "malformed"), ("G59.4", "unknown"),
    ],
)  # fmt: skip
def test_bad_origins(text, kind):
    assert refusal(text)[0] == kind


def test_a_refused_origin_changes_nothing():
    assert rs274("G0 X5\nG10 L20 P1 X0 R5\nX1").x_m.tolist() == [0.005, 0.005, 0.001]


vectors = st.tuples(*[st.floats(-500, 500)] * 3)


@given(st.lists(st.tuples(st.sampled_from(WORK_SYSTEMS), st.integers(0, 2), st.floats(-500, 500)), max_size=8), vectors)
def test_known_origins_agree_with_the_machines_zero(stated, machine):
    """With the machine's zero known, every origin that G10 L2 stated is that far from it."""
    frames = Frames.at_start(Controller({"G54": tuple(-1e-3 * value for value in machine)}))
    last: dict = {}
    for system, axis, value in stated:
        frames = frames.set_origin(system, {axis: value}, has_moved=True)
        last[system, axis] = value
    for (system, axis), value in last.items():
        assert frames.origins[system][axis] == pytest.approx(machine[axis] + value, abs=1e-9)


# --- what the controller has stored ---------------------------------------------------------------------

STORED = Controller({"G54": (-0.3, -0.18, -0.04), "G55": (-0.2, -0.1, -0.04)}, g30_m=(math.nan, math.nan, 0.0))


def test_systems_that_the_controller_has_stored_are_known_from_each_other():
    assert x_mm("G0 X5\nG55 X5\nG53 X-290", STORED) == [5, 105, 10]
    assert x_mm("G55 G0 X5\nG54 X5", STORED) == [105, 5]  # the frame stays G54's: the machine's axes count from it
    assert rs274("G55 G0 X5", STORED).metadata.work_system == "G54"
    assert refusal("G0 X5\nG56 X5", STORED)[0] == "unsupported"
    assert x_mm("G56 G0 X5\nX6", STORED) == [5, 6]
    assert rs274("G56 G0 X5", STORED).metadata.work_system == "G56"
    assert refusal("G56 G0 X5\nG53 X0", STORED)[0] == "unsupported"
    assert x_mm("G10 L2 P2 X-250 Y-100 Z-40\nG55 G0 X5", STORED) == [55]


def test_a_stored_position_may_be_known_on_one_axis():
    assert rs274("G0 X5 Z-3\nG91 G30 Z0", STORED).positions_m()[-1].tolist() == [0.005, 0.0, 0.04]
    assert refusal("G0 X5\nG30", STORED)[0] == "unsupported"
    moved = rs274("G0 X5 Y6\nG30.1\nG0 X9\nG30", STORED)
    assert moved.positions_m()[-1].tolist() == [0.005, 0.006, 0.0]


def test_the_small_mill_knows_its_zero_and_not_where_it_parks():
    controller = load_machine("grbl_mill").controller
    program = rs274("G0 X5\nG53 G0 Z0\nG53 G0 X-300 Y-180", controller)
    assert (program.positions_m() * 1e3).round(6).tolist() == [[5, 0, 0], [5, 0, 40], [0, 0, 40]]
    assert refusal("G28", controller)[0] == "unsupported"
    assert load_machine("prusa_mk3s").controller.systems_m == {}


# --- G53, G28, G30 --------------------------------------------------------------------------------------


def test_machine_coordinates_need_the_machines_zero():
    assert refusal("G53 G0 X0")[0] == "unsupported"
    assert x_mm("G0 X5\nG91\nG53 G0 X-10\nX1\nG92 X0\nG53 X-20", MACHINE) == [5, 90, 91, 80]
    assert x_mm("G1 X5 F60\nG53 X-10\nX1", MACHINE) == [5, 90, 1]
    assert refusal("G53 G2 X5 I5", MACHINE)[0] == "malformed"
    assert refusal("G53", MACHINE)[0] == "malformed"
    assert refusal("G53 X5", MACHINE)[0] == "malformed"  # no motion in force
    assert refusal("G53 G28", MACHINE)[0] == "malformed"


def test_g28_goes_over_its_point_on_the_axes_named():
    program = rs274("G0 X5 Z2\nG91 G28 Z1\nG90 G1 X6 F60", MACHINE)
    assert program.op.tolist() == [1, 1, 1, 2]
    assert (program.positions_m()[1:] * 1e3).round(6).tolist() == [[5, 0, 3], [5, 0, 30], [6, 0, 30]]
    assert all(math.isnan(feed) for feed in program.feed_m_s[:3])
    assert rs274("G28", MACHINE).positions_m().tolist() == [[0.09, 0.19, 0.03]]


def test_g28_keeps_the_motion_in_force():
    assert rs274("G1 X5 F60\nG28 X1\nX6", MACHINE).op.tolist() == [2, 1, 1, 2]


def test_positions_can_be_stored():
    assert x_mm("G0 X5\nG28.1\nX9\nG30.1\nG28\nX1\nG30 X2") == [5, 9, 5, 1, 2, 9]
    assert refusal("G0 X5\nG28.1\nG30")[0] == "unsupported"
    assert refusal("G28.1 X5")[0] == "malformed"


# --- G92 ------------------------------------------------------------------------------------------------


def test_g92_is_suspended_and_restored():
    assert x_mm("G0 X10\nG92 X0\nX1\nG92.2\nX1\nG92.3\nX1\nG92.1\nX1\nG92.3\nX2") == [10, 11, 1, 11, 1, 2]
    assert refusal("G92.3")[0] == "unsupported"
    assert refusal("G92.2 X5")[0] == "malformed"


def test_g92_stays_when_the_system_changes():
    assert x_mm("G10 L2 P1 X0\nG10 L2 P2 X100\nG92 X-1\nG0 X0\nG55 X0") == [1, 101]


# --- feed modes -----------------------------------------------------------------------------------------


def feeds(text: str) -> list[float]:
    program = rs274(text)
    assert not [note for note in program.notes if note.kind != "ignored"], program.notes
    return (program.feed_m_s * 60e3).round(3).tolist()


def test_inverse_time_is_the_path_over_the_time():
    assert feeds("G93 G1 X30 Y40 F2\nX30 Y40 Z10 F6") == [100, 60]
    assert feeds("G93\nG3 X0 Y0 I5 F1") == [pytest.approx(10 * math.pi, abs=1e-3)]
    assert feeds("G93\nG2 X10 I5 P2 F1") == [pytest.approx(15 * math.pi, abs=1e-3)]
    assert feeds("G93\nG2 X10 I5 Z8 F2") == [pytest.approx(2 * math.hypot(5 * math.pi, 8), abs=1e-3)]
    assert feeds("G18 G93\nG3 X0 Z0 K5 F1") == [pytest.approx(10 * math.pi, abs=1e-3)]
    assert feeds("G20 G93 G1 X1 F2") == [50.8]  # F is a rate, not a length
    assert feeds("G93 G1 X0 F2") == [0.1]
    assert feeds("G93 G1 X5 F0") == [0.0]


def test_inverse_time_needs_f_on_every_cut_and_ends_with_g94():
    assert refusal("G93 G1 X5 F1\nX6") == (
        "malformed", "inverse-time feed (G93) needs F on every line with G1, G2 or G3"
    )  # fmt: skip
    program = rs274("G1 X1 F60\nG93 G1 X2 F10\nG0 X3\nG94 G1 X4\nX5 F120")
    assert math.isnan(program.feed_m_s[2])
    assert (program.feed_m_s[[0, 1, 3, 4]] * 60e3).round(3).tolist() == [60, 10, 0, 120]


def test_feed_per_revolution_follows_the_spindle():
    assert feeds("S1000 M3\nG95 G1 X5 F0.1\nX6\nS500\nX7\nG20 X1 F.01\nG94 X2 F1") == [
        0, 100, 100, 0, 50, 127, 25.4
    ]  # fmt: skip
    assert refusal("G95 G1 X5 F.1")[0] == "malformed"
    assert refusal("S0 M3\nG95 G1 X5 F.1")[0] == "malformed"
    assert feeds("M3 S100\nG95 G1 X5") == [0, 0]


def test_g94_said_again_keeps_the_feed():
    assert feeds("G1 X1 F60\nG94\nX2") == [60, 60]


def test_a_feed_mode_on_a_refused_line_is_not_in_force():
    assert rs274("G1 X1 F60\nG93 G1 X2\nX3").feed_m_s.tolist() == [0.001, 0.0, 0.001]
