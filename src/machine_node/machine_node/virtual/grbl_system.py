"""`$` commands of GRBL 1.1: settings, offsets, modes, homing, jogging, sleep."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from machine_node.virtual import grbl_report as report
from machine_node.virtual.grbl_cycles import home
from machine_node.virtual.grbl_state import State
from machine_node.virtual.grbl_words import BAD_NUMBER, GrblError, read_number

if TYPE_CHECKING:
    from machine_node.virtual.grbl_firmware import GrblFirmware

Steps = Generator[Callable[[float], bool], None, int]
INVALID_STATEMENT, HOMING_DISABLED, NOT_IDLE = 3, 5, 8
STARTUP_LINES = 2
RESTORES = {"$RST=$": "restore_settings", "$RST=#": "restore_parameters", "$RST=*": "restore_all"}


def execute_system(firmware: GrblFirmware, line: str, number: int) -> Steps:
    """One line that begins with $. Raises GrblError from within."""
    state, second = firmware.cycle.state, line[1:2]
    yield from ()
    if not second:
        firmware.say(report.HELP)
        return 0
    if second == "J":
        if state not in (State.IDLE, State.JOG):
            raise GrblError(NOT_IDLE)
        if line[2:3] != "=":
            raise GrblError(INVALID_STATEMENT)
        return (yield from firmware.program.jog(line[3:], number))
    if second in "$GCX":
        if len(line) > 2:
            raise GrblError(INVALID_STATEMENT)
        return _short(firmware, second)
    if state not in (State.IDLE, State.ALARM):
        raise GrblError(NOT_IDLE)
    if line == "$H":
        if not firmware.eeprom.flag(22):
            raise GrblError(HOMING_DISABLED)
        yield from home(firmware)
        if firmware.cycle.state is State.IDLE:
            yield from firmware.program.startup(firmware.program.now_s)
            firmware.program.silent = False
        return 0
    return _at_rest(firmware, line)


def _short(firmware: GrblFirmware, letter: str) -> int:
    """$$, $G, $C, $X."""
    cycle, program, now_s = firmware.cycle, firmware.program, firmware.program.now_s
    if letter == "$":
        if cycle.state in (State.RUN, State.HOLD):
            raise GrblError(NOT_IDLE)
        for number in firmware.eeprom.values:
            firmware.say(firmware.eeprom.line(number))
    elif letter == "G":
        firmware.say(report.modes_line(program.modes, program.modes.spindle_rpm, firmware.eeprom.flag(13)))
    elif letter == "X":
        if cycle.state is State.ALARM:
            firmware.say(report.UNLOCKED)
            cycle.state = State.IDLE
    elif cycle.state is State.CHECK:
        firmware.say(report.DISABLED)
        cycle.state = State.IDLE
        firmware.reset(now_s)
    elif cycle.state is State.IDLE:
        firmware.say(report.ENABLED)
        cycle.state = State.CHECK
    else:
        raise GrblError(NOT_IDLE)
    return 0


def _at_rest(firmware: GrblFirmware, line: str) -> int:
    """What is allowed in Idle and Alarm only."""
    eeprom, program, now_s = firmware.eeprom, firmware.program, firmware.program.now_s
    if line == "$#":
        for text in report.parameter_lines(eeprom, program.frame(), program.probe_m, program.probe_found):
            firmware.say(text)
    elif line == "$SLP":
        firmware.say("ok")  # before it falls asleep
        program.silent = True
        firmware.cycle.sleep(now_s)
    elif line == "$I":
        for text in report.build_lines(eeprom.build, firmware.motion.capacity, firmware.receive_bytes):
            firmware.say(text)
    elif line.startswith("$I="):
        eeprom.build = line[3:]
        firmware.eeprom_written(now_s)
    elif line == "$N":
        for index, text in enumerate(eeprom.startup):
            firmware.say(f"$N{index}={text}")
    elif line.startswith("$N"):
        _store_startup(firmware, line)
    elif line in RESTORES:
        getattr(eeprom, RESTORES[line])()
        firmware.motion.limits = eeprom.limits()
        firmware.say(report.RESTORING)
        firmware.eeprom_written(now_s)
        firmware.reset(now_s)
    elif line[1] in "#SHIR":
        raise GrblError(INVALID_STATEMENT)
    else:
        _store_setting(firmware, line)
    return 0


def _store_setting(firmware: GrblFirmware, line: str) -> None:
    number, at = read_number(line, 1)
    if line[at : at + 1] != "=":
        raise GrblError(INVALID_STATEMENT)
    value, end = read_number(line, at + 1)
    if end < len(line) or not 0 <= number <= 255:
        raise GrblError(INVALID_STATEMENT)
    firmware.eeprom.store(int(number), value)
    firmware.motion.limits = firmware.eeprom.limits()
    if int(number) in (10, 13):
        firmware.reports.offsets_changed()
    firmware.eeprom_written(firmware.program.now_s)
    firmware.event(firmware.program.now_s, "setting", number=int(number), value=firmware.eeprom.values[int(number)])


def _store_startup(firmware: GrblFirmware, line: str) -> None:
    """$N0=G21: stored when the controller would accept it as a line."""
    if firmware.cycle.state is not State.IDLE:
        raise GrblError(NOT_IDLE)
    number, at = read_number(line, 2)
    if line[at : at + 1] != "=":
        raise GrblError(INVALID_STATEMENT)
    if int(number) not in range(STARTUP_LINES):
        raise GrblError(BAD_NUMBER)
    text = line[at + 1 :]
    firmware.program.check(text)
    firmware.eeprom.startup[int(number)] = text
    firmware.eeprom_written(firmware.program.now_s)
