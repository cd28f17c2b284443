"""The GRBL driver against a mill without a port: the conversation, holds, stops, and how each failure shows."""

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import load_machine
from machine_node.grbl.driver import HOMING_LIMIT_S, MISSING_ANSWER_S, SILENCE_LIMIT_S, GrblDriver
from machine_node.grbl.handshake import HANDSHAKE_LIMIT_S
from machine_node.grbl.stopping import GrblStop
from machine_node.stopping import Progress
from machine_node.streaming import events as told

sys.path.insert(0, str(Path(__file__).parent))
from mills import Mill

PROFILE = load_machine("grbl_mill")


class Wire:
    """A transport whose other side is a mill; what is written arrives at once."""

    def __init__(self, mill):
        self.mill, self.now, self.extra = mill, 0.0, b""
        self.wants_write, self.dropped = False, 0

    def read(self):
        out, self.mill.output, self.extra = self.extra + self.mill.output, b"", b""
        return out

    def write(self, data):
        self.mill.receive(data, self.now)

    def drop_pending(self):
        self.dropped += 1
        self.wants_write = False


class Session:
    """A driver, a mill and a clock."""

    def __init__(self, time_scale=1.0, **options):
        self.mill = Mill(**options)
        self.wire = Wire(self.mill)
        self.driver = GrblDriver(self.wire, PROFILE, time_scale, 0.0)

    @property
    def now(self):
        return self.wire.now

    def step(self, after_s=0.005):
        self.wire.now += after_s
        self.mill.run(self.wire.now)
        return self.driver.poll(self.wire.now)

    def steps(self, time_s):
        events = []
        for _ in range(round(time_s / 0.005)):
            events += self.step()
        return events

    def until(self, condition, limit_s=20.0):
        events = []
        end = self.now + limit_s
        while not condition():
            events += self.step()
            assert self.now < end
        return events

    def connect(self):
        self.until(lambda: self.driver.ready)
        return self


def broken(events):
    return [event.error for event in events if isinstance(event, told.Broken)]


def test_the_handshake_is_this_conversation():
    session = Session().connect()
    assert session.mill.sent() == ["$I", "$$", "$#", "$G"]
    driver = session.driver
    assert driver.firmware == "1.1h.20190825"
    assert driver.planner_free_idle == 15
    assert driver.settings.offsets["G54"] == (-300.0, -180.0, -40.0)
    assert driver.reported_position_m == (0.0, 0.0, 0.0)  # of the work
    assert not driver.locked
    assert driver.notices == ()


def test_a_board_that_boots_is_listened_to_and_a_silent_one_is_reset():
    session = Session()
    session.mill.power_on()
    session.connect()
    assert 0x18 not in [byte for _, byte in session.mill.real_time]
    session = Session()
    session.mill.mute = True
    session.steps(2.5)
    assert [byte for _, byte in session.mill.real_time].count(0x18) == 1


def test_a_mill_that_moves_is_held_before_it_is_reset():
    session = Session()
    session.mill.receive(b"G1X100F600\n", 0.0)
    session.mill.run(0.5)
    session.wire.now = 0.5
    session.connect()
    assert [byte for _, byte in session.mill.real_time if byte in b"!\x18"] == list(b"!\x18")
    assert session.mill.state == "Idle"  # no alarm: the position was kept


def test_nobody_there():
    session = Session()
    session.mill.receive = lambda *_: None
    with pytest.raises(MachineError) as caught:
        session.steps(HANDSHAKE_LIMIT_S + 1.0)
    assert caught.value.code is ErrorCode.NO_REPLY


def test_reports_are_switched_on_where_they_are_off_and_inches_are_read():
    session = Session(settings={10: 1, 13: 1}, start=(1.0, 0.0, 0.0)).connect()
    assert session.mill.settings[10] == 3
    assert session.driver.reported_position_m[0] == pytest.approx(25.4e-3)


def test_other_limits_than_the_profile_s_are_said():
    notices = Session(settings={110: 500, 32: 1}).connect().driver.notices
    assert any("$110" in line and "500" in line and "1998" in line for line in notices)
    assert any("laser" in line for line in notices)


def test_a_real_controller_is_not_run_faster_than_it_is():
    with pytest.raises(MachineError) as caught:
        Session(time_scale=10.0).connect()
    assert caught.value.code is ErrorCode.BAD_PARAMETER


def test_lines_wait_for_room_and_reports_come_ten_times_a_second():
    session = Session().connect()
    session.mill._carry_out = lambda line: False  # nothing is taken any more
    sent = 0
    while session.driver.can_send("G1X100.1234Y100.1234F600"):
        session.driver.send("G1X100.1234Y100.1234F600", session.now)
        sent += 25
    assert 128 - 25 <= sent < 128
    session.steps(0.2)
    before = len(session.mill.real_time)
    session.steps(0.8)
    assert 7 <= len(session.mill.real_time) - before <= 9


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        (b"ALARM:1\n", ErrorCode.CONTROLLER_ERROR, "hard limit"),
        (b"Grbl 1.1h ['$' for help]\n", ErrorCode.CONTROLLER_RESET, "reset"),
    ],
)
def test_what_ends_the_connection(text, code, word):
    session = Session().connect()
    session.driver.send("G1X10F600", session.now)
    session.wire.extra = text
    with pytest.raises(MachineError, match=word) as caught:
        session.step()
    assert caught.value.code is code


def test_silence_is_noticed_soon_and_while_homing_late():
    session = Session(homed=False).connect()
    assert session.driver.must_home
    assert not session.driver.locked
    session.driver.send("$H", session.now)
    session.mill.mute = True
    session.mill._carry_out = lambda line: False
    session.steps(SILENCE_LIMIT_S * 3)
    with pytest.raises(MachineError, match=f"{HOMING_LIMIT_S:g} s"):
        session.steps(HOMING_LIMIT_S)
    session = Session().connect()
    session.mill.mute = True
    begin = session.now
    with pytest.raises(MachineError) as caught:
        session.steps(5.0)
    assert caught.value.code is ErrorCode.NO_REPLY
    assert session.now - begin < SILENCE_LIMIT_S + 0.2


def test_an_alarm_without_homing_is_a_named_lock():
    locked = Session(homed=False, settings={22: 0}).connect().driver.locked
    assert "cannot home" in locked


def test_a_refused_line_breaks_the_stream_and_not_the_connection():
    session = Session().connect()
    session.driver.send("G1X10", session.now)
    errors = broken(session.steps(0.1))
    assert [error.code for error in errors] == [ErrorCode.CONTROLLER_ERROR]
    assert "error:22 (a feed move without a feed)" in str(errors[0])
    assert session.driver.ready


def test_a_lost_line_end_and_a_torn_line_are_noticed():
    session = Session().connect()
    session.wire.write(b"G1X1F600")  # its line end was lost
    session.driver.send("G1X2F600", session.now)
    assert "error:2" in str(broken(session.steps(0.1))[0])
    session = Session().connect()
    session.driver.send("G90", session.now)
    session.wire.write(b"G91\n")
    assert "one answer too many" in str(broken(session.steps(0.1))[0])


def test_an_answer_that_never_comes_is_noticed_when_the_mill_is_idle():
    session = Session().connect()
    session.mill.spoil = lambda line: None
    session.driver.send("G90", session.now)
    assert not broken(session.steps(MISSING_ANSWER_S - 0.1))
    assert "has not answered" in str(broken(session.steps(0.5))[0])


def test_an_echo_that_differs_is_noticed():
    session = Session().connect()
    session.driver.send("G1X10F600", session.now)
    session.wire.extra = b"[echo: G1X70F600]\n"
    assert "G1X70F600" in str(broken(session.step())[0])


def test_a_line_number_that_was_not_sent_is_noticed():
    session = Session(options="VN,15,128").connect()
    session.driver.send("G1X10F600", session.now)
    assert session.mill.lines[-1][1].startswith("N")
    session.wire.extra = b"<Run|MPos:-10.000,-20.000,-5.000|Ln:900>\n"
    assert "N900" in str(broken(session.step())[0])


def test_a_hold_stops_and_resumes_and_says_so():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.3)
    session.driver.hold(session.now)
    assert told.Paused(True) in session.step()
    where = list(session.mill.position)
    session.steps(0.3)
    assert session.mill.position == where
    events = []
    for _ in range(60):
        session.driver.go_on(session.now)
        events += session.step()
    assert told.Paused(False) in events
    assert session.mill.position != where
    assert [byte for _, byte in session.mill.real_time if byte in b"!~"] == list(b"!~")


def test_a_resume_that_is_lost_is_written_again():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.2)
    session.driver.hold(session.now)
    session.steps(0.2)
    real, lost = session.mill._real_time, []
    session.mill._real_time = lambda byte, now: lost.append(byte) if byte == ord("~") and not lost else real(byte, now)
    for _ in range(100):
        session.driver.go_on(session.now)
        session.step()
    assert session.mill.state == "Run"


def test_reports_that_were_on_their_way_do_not_make_a_hold_of_ours_somebody_else_s():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    real = session.mill._real_time
    braking_s = session.now + 0.05  # GRBL does nothing with a resume while a hold still brakes
    session.mill._real_time = lambda byte, now: None if byte == ord("~") and now < braking_s else real(byte, now)
    idle = b"<Idle|MPos:-300.000,-180.000,-40.000|FS:0,0>\n"
    session.driver.hold(session.now)
    session.wire.extra = idle  # told before the move began
    session.step()
    session.driver.go_on(session.now)
    session.wire.extra = idle
    session.step()
    for _ in range(100):
        session.driver.go_on(session.now)
        session.step()
    assert session.mill.state == "Run"


def test_somebody_else_s_hold_is_not_ended_by_a_permit():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.3)
    session.mill.state = "Hold"  # the button on the machine
    events = session.steps(0.3)
    assert told.Paused(True) in events
    session.driver.hold(session.now)  # the permit lapses and comes back
    for _ in range(50):
        session.driver.go_on(session.now)
        session.step()
    assert session.mill.state == "Hold"


@pytest.mark.parametrize(("scale", "feed", "rapid"), [(0.5, 50, 50), (0.77, 77, 50), (0.3, 30, 25), (0.02, 10, 25)])
def test_overrides_reach_the_largest_allowed_speed(scale, feed, rapid):
    session = Session().connect()
    session.driver.set_speed(scale, session.now)
    session.steps(1.0)
    assert session.mill.overrides[:2] == [feed, rapid]
    session.driver.set_speed(1.0, session.now)
    session.steps(1.0)
    assert session.mill.overrides[:2] == [100, 100]


def test_overrides_that_somebody_else_changed_are_set_again():
    session = Session().connect()
    session.mill.overrides[:2] = [140, 50]
    session.steps(1.0)
    assert session.mill.overrides[:2] == [100, 100]


class Stream:
    def __init__(self):
        self.dropped = 0

    def drop(self):
        self.dropped += 1


def test_a_stop_holds_first_and_keeps_the_position():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.3)
    stream = Stream()
    stop = GrblStop(session.driver, stream, session.now)
    progress = Progress.RUNNING
    while progress is Progress.RUNNING:
        session.step()
        progress = stop.step(session.now)
    assert progress is Progress.DONE
    assert stream.dropped == 1
    assert [byte for _, byte in session.mill.real_time if byte in b"!\x18"] == list(
        b"\x18!\x18"
    )  # the first at connecting
    assert session.mill.state == "Idle"
    session.steps(0.3)
    assert session.driver.settled
    assert session.driver.can_send("G90")


def test_a_stop_that_the_controller_does_not_hear_is_hopeless():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.3)
    session.mill._real_time = lambda byte, now: session.mill._report() if byte == ord("?") else None
    stop = GrblStop(session.driver, Stream(), session.now)
    progress = Progress.RUNNING
    while progress is Progress.RUNNING:
        session.step()
        progress = stop.step(session.now)
    assert progress is Progress.HOPELESS


def test_a_kill_is_confirmed_by_the_welcome():
    session = Session().connect()
    session.driver.send("G1X100F600", session.now)
    session.steps(0.3)
    session.driver.kill()
    with pytest.raises(MachineError) as caught:
        session.step()
    assert caught.value.code is ErrorCode.CONTROLLER_ERROR
    assert session.mill.state == "Alarm"


def test_nothing_queues_behind_bytes_that_the_port_does_not_take():
    session = Session().connect()
    session.wire.wants_write = True
    assert not session.driver.can_send("G90")
    session.driver.hold(session.now)
    assert session.wire.dropped == 1
    assert broken(session.step())  # a line may have been lost


def test_at_rest_means_two_idle_reports_with_nothing_on_its_way():
    session = Session().connect()
    session.steps(0.5)
    assert session.driver.settled
    session.driver.send("G1X5F600", session.now)
    assert not session.driver.settled
    reports = [event for event in session.steps(1.0) if isinstance(event, told.ToolReport)]
    assert [report.at_rest for report in reports] == sorted(report.at_rest for report in reports)
    assert reports[-1].position_m == pytest.approx((0.005, 0.0, 0.0))
    assert all(report.position_m[0] == pytest.approx(0.005) for report in reports if report.at_rest)


def test_a_probe_s_result_is_kept():
    session = Session().connect()
    session.wire.extra = b"[PRB:1.000,2.000,-3.000:1]\n"
    session.step()
    assert session.driver.probe.touched


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([
    b"ok\n", b"error:9\n", b"<Run|MPos:0,0,0|Bf:1,2|Ln:3>\n", b"<Hold:0|>\n", b"<Alarm|>\n", b"<Door:1|MPos:1,1,1>\n",
    b"[OPT:N,1,1]\n", b"<Idle|MPos:nan,inf,1|WCO:1,2>\n", b"$13=1\n", b"ALARM:9\n",
])), max_size=12))  # fmt: skip
def test_whatever_a_controller_says_is_an_event_or_one_error(chunks):
    session = Session().connect()
    session.driver.send("G1X10F600", session.now)
    for chunk in chunks:
        session.wire.extra = chunk
        try:
            session.step()
        except MachineError:
            return
        x_m = session.driver.reported_position_m[0]
        assert math.isnan(x_m) or abs(x_m) < 1e9
