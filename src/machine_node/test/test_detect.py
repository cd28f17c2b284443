"""Which controller speaks at a port: the detector against what real ones say, and the probe over pseudo-terminals."""

import array
import errno
import fcntl
import os
import pty
import re
import select
import threading
import tty
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import load_machine
from machine_node import ports
from machine_node.detect import ANSWER_S, BOOT_S, LISTEN_S, QUESTIONS, Detector, Family, Verdict
from machine_node.ports import BAUDS, find_port, longest_s, probe, serial_ports
from machine_node.transport import SerialTransport

MARLIN_2 = "FIRMWARE_NAME:Marlin 2.1.2.5 (Sep 27 2024 12:00:00) SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin " \
    "PROTOCOL_VERSION:1.0 MACHINE_TYPE:Ender-3 EXTRUDER_COUNT:1 UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff"  # fmt: skip
PRUSA = "FIRMWARE_NAME:Prusa-Firmware 3.14.0 based on Marlin FIRMWARE_URL:https://github.com/prusa3d/Prusa-Firmware " \
    "PROTOCOL_VERSION:1.0 MACHINE_TYPE:Prusa i3 MK3S EXTRUDER_COUNT:1"  # fmt: skip


def detect(greeting="", answers=None, later=()):
    """The verdict on a device that greets and answers questions; `later`: (time, text). And what it was asked."""
    detector, now, asked = Detector(0.0), 0.0, b""
    detector.receive(greeting.encode("latin-1"), 0.0)
    later = list(later)
    while (verdict := detector.verdict(now)) is None:
        now = round(now + 0.05, 3)
        assert now < 60.0
        question = detector.due(now)
        asked += question
        for line in question.decode().split("\n"):
            if line and answers is not None:
                detector.receive(answers(line).encode("latin-1"), now)
        while later and later[0][0] <= now:
            detector.receive(later.pop(0)[1].encode("latin-1"), now)
    return verdict, asked.decode(), now


def marlin(line, name=MARLIN_2):
    if line == "M115":
        return f"{name}\nCap:AUTOREPORT_TEMP:1\nok\n"
    if line == "*":
        return "Error:No Line Number with checksum, Last Line: 0\nResend: 1\nok\n"
    return f'echo:Unknown command: "{line}"\nok\n'


def grbl(line):
    answers = {"$I": "[VER:1.1h.20190825:]\n[OPT:V,15,128]\nok\n", "?": "<Idle|MPos:0.000,0.000,0.000|FS:0,0>\n"}
    return answers.get(line, "error:20\n")


@pytest.mark.parametrize(
    ("greeting", "answers", "family", "firmware"),
    [
        ("start\necho: External Reset\n", marlin, Family.MARLIN, "Marlin 2.1.2.5 (Sep 27 2024 12:00:00)"),
        ("", marlin, Family.MARLIN, "Marlin 2.1.2.5 (Sep 27 2024 12:00:00)"),
        ("start\n", lambda line: marlin(line, PRUSA), Family.MARLIN, "Prusa-Firmware 3.14.0 based on Marlin"),
        ("echo:busy: processing\n", None, Family.MARLIN, ""),  # homing: it answers nothing now
        (" T:180.2 /210.0 B:55.0 /60.0 @:127 B@:0 W:?\n", None, Family.MARLIN, ""),
        ("Error:Printer halted. kill() called!\n", None, Family.MARLIN, ""),
        ("\r\nGrbl 1.1h ['$' for help]\r\n", None, Family.GRBL, "Grbl 1.1h"),
        ("\r\nGrblHAL 1.1f ['$' or '$HELP' for help]\r\n", None, Family.GRBL, "GrblHAL 1.1f"),
        ("Grbl 3.7 [FluidNC v3.7.8 (wifi) '$' for help]\r\n", None, Family.GRBL, "Grbl 3.7"),
        ("", grbl, Family.GRBL, "Grbl 1.1h.20190825"),
        ("ALARM:1\n", lambda line: "error:9\n", Family.GRBL, ""),
        ("", lambda line: "<Run|MPos:1.0,2.0,3.0|FS:500,0>\n" if line == "?" else "error:8\n", Family.GRBL, ""),
        ("", lambda line: marlin(line, "FIRMWARE_NAME:Klipper FIRMWARE_VERSION:v0.12.0"), Family.OTHER, "Klipper"),
        (
            "",
            lambda line: marlin(line, "FIRMWARE_NAME: RepRapFirmware for Duet 3 FIRMWARE_VERSION: 3.5"),
            Family.OTHER,
            "RepRapFirmware for Duet 3",
        ),
        ("1000,230.1,0.41,90.2,55.0\n", lambda line: "", Family.OTHER, ""),  # a power meter
        ("", lambda line: "bash: command not found\n", Family.OTHER, ""),
        ("\x80\xf8\x00\x1e\xff\x98\xe6\x80\x9e", None, Family.GARBLED, ""),
        ("", lambda line: "\x80\xfe", Family.GARBLED, ""),
        ("", None, Family.SILENT, ""),
    ],
)
def test_what_devices_say(greeting, answers, family, firmware):
    verdict, _, _ = detect(greeting, answers)
    assert (verdict.family, verdict.firmware) == (family, firmware)


def test_a_greeting_that_says_it_all_is_asked_nothing():
    assert detect("Grbl 1.1h ['$' for help]\n") == (
        Verdict(Family.GRBL, "Grbl 1.1h", "Grbl 1.1h ['$' for help]"),
        "",
        0,
    )


def test_the_questions_move_and_heat_nothing():
    _, asked, _ = detect()
    assert asked.split() == ["*", "M115", "$I", "?"]
    # half a line of another program is spoilt, so that no controller carries it out
    assert asked.startswith("*")
    assert not re.search(r"G\d|M10[49]|M1[49]0|\$H|\$X|\$J|~|!|\x18", asked)


def test_where_garbage_is_heard_nothing_is_asked():
    assert detect("\xff\x80" * 10)[1] == ""


def test_a_marlin_that_boots_for_long_is_waited_for():
    verdict, _, now = detect("start\n", None, later=[(6.0, MARLIN_2 + "\nok\n")])
    assert verdict.firmware.startswith("Marlin 2.1.2.5")
    assert now < BOOT_S


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_any_bytes_give_a_verdict_in_time(chunks):
    detector, now = Detector(0.0), 0.0
    while (verdict := detector.verdict(now)) is None:
        now += 0.1
        detector.due(now)
        detector.receive(chunks.pop() if chunks else b"", now)
    assert now <= LISTEN_S + QUESTIONS[-1][0] + ANSWER_S + BOOT_S + 0.2
    assert len(verdict.said) <= 60


def test_an_endless_line_needs_no_memory():
    detector = Detector(0.0)
    for _ in range(100):
        detector.receive(b"x" * 4096, 0.0)
    assert len(detector._partial) <= 4096


# --- over pseudo-terminals ---

TCGETS2 = 0x802C542A
OUTPUT_SPEED = 10  # in struct termios2, by 4 bytes: four flags, line and 19 characters, input speed, output speed


class Device(threading.Thread):
    """A device at its own baud rate: to a host at another one it is garbage, both ways."""

    def __init__(self, answers, baud=115200, greeting=""):
        super().__init__(daemon=True)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.port = os.ttyname(self.slave)
        self.answers, self.baud, self.greeting = answers, baud, greeting
        self.heard = []
        self._end = False
        self.start()

    def host_baud(self):
        settings = array.array("I", [0] * 16)
        fcntl.ioctl(self.slave, TCGETS2, settings)
        return settings[OUTPUT_SPEED]

    def run(self):
        partial = b""
        while not self._end:
            if not select.select([self.master], [], [], 0.02)[0]:
                continue
            data = os.read(self.master, 4096)
            if self.answers is None:
                continue
            if self.host_baud() != self.baud:
                os.write(self.master, b"\xfe\x80\x00" * len(data))
                continue
            *lines, partial = (partial + data).split(b"\n")
            for line in lines:
                self.heard.append(line.decode())
                os.write(self.master, self.answers(line.decode()).encode())

    def close(self):
        self._end = True
        self.join()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def device():
    """A factory of devices."""
    made = []

    def make(*arguments, **options):
        made.append(Device(*arguments, **options))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.fixture
def quick(monkeypatch):
    """The same steps in less time."""
    monkeypatch.setattr(ports, "LISTEN_S", 0.1)
    monkeypatch.setattr(ports, "LISTEN_AGAIN_S", 0.05)


@pytest.mark.parametrize(
    ("answers", "baud", "family"),
    [(marlin, 115200, Family.MARLIN), (marlin, 250000, Family.MARLIN), (grbl, 115200, Family.GRBL),
     (grbl, 9600, Family.GRBL)],
)  # fmt: skip
def test_family_firmware_and_rate_are_found(quick, device, answers, baud, family):
    made = device(answers, baud)
    found = probe(made.port)
    assert (found.family, found.baud, found.port) == (family, baud, made.port)
    assert found.firmware


def refusal(call, *arguments, **options):
    with pytest.raises(MachineError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_wrong_rate_is_said(quick, device):
    error = refusal(probe, device(marlin, 250000).port, (9600,))
    assert error.code is ErrorCode.PROTOCOL
    assert "no text at 9600 bit/s" in error.message


def test_a_device_that_is_neither_is_said(quick, device):
    error = refusal(probe, device(lambda line: "AT+OK\n").port, (115200,))
    assert error.code is ErrorCode.PROTOCOL
    assert "neither a Marlin nor a GRBL controller (it says 'AT+OK')" in error.message


def test_silence_is_said(quick, device):
    error = refusal(probe, device(None).port, (115200, 9600))
    assert error.code is ErrorCode.NO_REPLY
    assert "115200, 9600" in error.message


def test_a_wrong_port_is_said(tmp_path):
    for wrong in (tmp_path / "no", tmp_path, __file__):
        assert refusal(probe, str(wrong)).code is ErrorCode.PORT_UNAVAILABLE


def test_a_busy_port_is_said(device):
    made = device(marlin)
    holder = SerialTransport(made.port, 115200)
    error = refusal(probe, made.port)
    holder.close()
    assert error.code is ErrorCode.PORT_UNAVAILABLE
    assert "another program uses it" in error.message


def test_no_permission_is_said(monkeypatch, device):
    """The system's refusal is played: whoever runs the tests may be allowed everything."""

    def refuse(*_, **__):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("machine_node.transport.serial.Serial", refuse)
    error = refusal(probe, device(marlin).port)
    assert error.code is ErrorCode.PORT_UNAVAILABLE
    assert "permission denied" in error.message
    assert "dialout" in error.remedy


def test_a_port_that_goes_away_is_said(monkeypatch, device):
    made = device(marlin)

    def gone(self):
        raise MachineError(ErrorCode.PORT_UNAVAILABLE, "gone.", "Plug it in.")

    monkeypatch.setattr(SerialTransport, "read", gone)
    os.write(made.master, b"start\n")
    assert refusal(probe, made.port).code is ErrorCode.PORT_UNAVAILABLE


def test_a_search_can_be_ended(device):
    with pytest.raises(MachineError) as caught:
        probe(device(lambda line: "").port, cancelled=lambda: True)
    assert caught.value.code is ErrorCode.CANCELLED


def test_the_time_that_is_said_is_the_sum_of_the_parts():
    assert longest_s() < 30.0
    assert longest_s((115200,)) == LISTEN_S + ANSWER_S + BOOT_S
    assert {115200, 250000, 230400, 500000, 57600, 9600} <= set(BAUDS)


# --- names ---


def comports(*devices):
    return lambda: [SimpleNamespace(device=name, description="n/a", vid=None, pid=None) for name in devices]


def test_lasting_names_are_udevs(monkeypatch, tmp_path):
    for name in ("ttyACM0", "ttyUSB0", "ttyS0"):
        (tmp_path / name).touch()
    names = tmp_path / "serial"
    for folder, link, target in (
        ("by-id", "usb-Prusa_MK3-if00", "ttyACM0"),
        ("by-path", "pci-0:1.0", "ttyACM0"),
        ("by-path", "pci-0:2.0", "ttyUSB0"),
    ):
        (names / folder).mkdir(parents=True, exist_ok=True)
        (names / folder / link).symlink_to(tmp_path / target)
    devices = [str(tmp_path / name) for name in ("ttyUSB0", "ttyACM0", "ttyS0")]
    monkeypatch.setattr(ports.list_ports, "comports", comports(*devices))
    found = {os.path.basename(port.device): port for port in serial_ports(names)}
    assert found["ttyACM0"].name == str(names / "by-id" / "usb-Prusa_MK3-if00")
    assert found["ttyACM0"].by_path == str(names / "by-path" / "pci-0:1.0")
    assert found["ttyUSB0"].name == str(names / "by-path" / "pci-0:2.0")  # a cheap adapter has no name of its own
    assert found["ttyS0"].name == devices[2]
    assert serial_ports(tmp_path / "none")[0].by_id == ""


def test_the_machine_of_the_right_family_is_found(quick, monkeypatch, device):
    printer, mill, meter = device(marlin), device(grbl), device(lambda line: "1,2,3\n")
    monkeypatch.setattr(ports.list_ports, "comports", comports(printer.port, mill.port, meter.port))
    profile = load_machine("prusa_mk3s")
    assert find_port(profile, baud=115200, exclude=[meter.port]).port == printer.port
    assert not meter.heard
    assert find_port(profile, printer.port).baud == 115200
    wrong = refusal(find_port, profile, mill.port, baud=115200)
    assert wrong.code is ErrorCode.PROTOCOL
    assert "speaks marlin" in wrong.message


def test_two_of_a_kind_are_not_guessed(quick, monkeypatch, device):
    one, two = device(marlin), device(marlin)
    monkeypatch.setattr(ports.list_ports, "comports", comports(one.port, two.port))
    error = refusal(find_port, load_machine("prusa_mk3s"), baud=115200)
    assert error.code is ErrorCode.PROTOCOL
    assert one.port in error.message
    assert two.port in error.message


def test_no_machine_is_said_with_what_was_seen(quick, monkeypatch, device):
    monkeypatch.setattr(ports.list_ports, "comports", comports(device(lambda line: "hello\n").port))
    error = refusal(find_port, load_machine("prusa_mk3s"), baud=115200)
    assert error.code is ErrorCode.NO_REPLY
    assert "hello" in error.message
