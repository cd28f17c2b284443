"""The step tests on a virtual machine whose parameters nobody knows, in virtual time: no port, no process, no clock.

What the identification finds can then be compared with what is true. The machine is drawn twice: a profile around the
given one (`spread`), hidden from the identification, and the virtual machine's own draw around that.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import median
from typing import Any

from industriverse_cli.calibration.series import Series
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import Heater, MachineProfile
from industriverse_core.program import Program
from machine_node.marlin import protocol
from machine_node.marlin.preamble import preamble
from machine_node.meter import parse_reading
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.power_meter import Meter
from twin_node.identification.identify import Identification, identify
from twin_node.identification.plan import step_test
from twin_node.identification.recording import program_states

STEP_S = 0.1  # of virtual time
LATE_S = 1e-6  # after a step of the plant is due, so that rounding puts none off
WINDOW = 3  # lines under way
LONGEST_S = 4 * 3600.0
AMBIENT_SPREAD_K = 5.0
HIDDEN = ("power", "heat_capacity", "loss", "fan_loss")  # of each heater
CONSUMERS = ("electronics", "motors_enabled", "motion_per_speed", "fan", "hotend_fan")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One virtual machine: what was found, and what is true, by the estimates' names."""

    seed: int
    found: Identification
    truth: dict[str, float]


def rehearse(profile: MachineProfile, seed: int, spread: float, meter_accuracy: float) -> Rehearsal:
    """Run the step tests on one virtual machine and identify it.

    Args:
        profile: what is known of the machine.
        seed: of all that is not.
        spread: half-width of the relative spread of its true parameters around the profile's.
        meter_accuracy: as of `identify`.
    Raises PredictionError (CANNOT_CALIBRATE).
    """
    text = step_test(profile)
    program = read_gcode(text.encode(), "step tests", controller=profile.controller)
    hidden = hidden_profile(profile, seed, spread)
    firmware = Firmware(hidden, 1.0, seed, Journal(None), lambda t: t)
    series = run(firmware, Meter(firmware.plant, seed + 2), text, program)
    found = identify(series.recording(profile.id, program_states(program)), profile, meter_accuracy)
    return Rehearsal(seed, found, firmware.plant.parameters())


def hidden_profile(profile: MachineProfile, seed: int, spread: float) -> MachineProfile:
    """A machine of this kind with other parameters, and in another room."""
    draw = random.Random(f"hidden {seed}")

    def near(value: float) -> float:
        return value * draw.uniform(1.0 - spread, 1.0 + spread)

    def heater(given: Heater | None) -> Heater | None:
        return None if given is None else given.model_copy(update={name: near(getattr(given, name)) for name in HIDDEN})

    power = profile.power.model_copy(update={name: near(getattr(profile.power, name)) for name in CONSUMERS})
    ambient = profile.ambient + draw.uniform(-AMBIENT_SPREAD_K, AMBIENT_SPREAD_K)
    return profile.model_copy(
        update={"hotend": heater(profile.hotend), "bed": heater(profile.bed), "power": power, "ambient": ambient}
    )


def run(firmware: Firmware, meter: Meter, text: str, program: Program) -> Series:
    """A program from the first line to the last, as a host sends it. Returns what the machine said and the meter read.

    Raises PredictionError (CANNOT_CALIBRATE) when the virtual machine halts or does not come to an end.
    """
    host = _Host(firmware, text, program)
    series = Series()
    now, steps = 0.0, 0
    firmware.power_on(now)
    firmware.step(now)
    while not host.done:
        steps += 1
        now = steps * STEP_S + LATE_S
        if firmware.halted or now > LONGEST_S:
            why = "has halted" if firmware.halted else f"has not ended after {LONGEST_S:.0f} s"
            raise PredictionError(ErrorCode.CANNOT_CALIBRATE, f"the virtual machine {why}: {host.last_words}.")
        firmware.step(now)
        host.exchange(now)
        if (reading := parse_reading(meter.read())) is not None:
            series.meter.append((firmware.plant.time_s, reading.power_w, reading.energy_j))
        if math.isfinite(host.heat.hotend_c):
            series.machine.append(_row(now, host, firmware))
    return series


class _Host:
    """Keeps a few lines under way and remembers what was reported."""

    def __init__(self, firmware: Firmware, text: str, program: Program) -> None:
        self._firmware = firmware
        setup = [(line, 0) for line in ("M155 S1", *preamble(firmware.profile))]
        of_line = {int(line): k for k, line in enumerate(program.line)}
        lines = [(line.split(";")[0].strip(), of_line.get(k + 1)) for k, line in enumerate(text.splitlines())]
        self._waiting = setup + [(line, 0 if index is None else index) for line, index in lines if line]
        self._waiting.append(("M400", len(program) - 1))
        self._sent: list[int] = []
        self._booted = False
        self.instruction = 0
        self.heat = protocol.Temperatures()
        self.last_words = ""

    @property
    def done(self) -> bool:
        """Whether all is acknowledged."""
        return not self._waiting and not self._sent

    def exchange(self, now_s: float) -> None:
        """Take what the controller said, and send what it has room for."""
        lines = bytes(self._firmware.output).decode("ascii").splitlines()
        self._firmware.output.clear()
        for event in (event for line in lines for event in protocol.parse_line(line)):
            if isinstance(event, protocol.Reset):
                self._booted = True
            elif isinstance(event, protocol.Ok) and self._sent:
                self._sent.pop(0)
            elif isinstance(event, protocol.Temperatures):
                self.heat = event
            elif isinstance(event, protocol.Fault):
                self.last_words = event.reason
        while self._booted and self._waiting and len(self._sent) < WINDOW:
            line, index = self._waiting.pop(0)
            self._sent.append(index)
            self._firmware.receive(line.encode() + b"\n", now_s)
        if self._sent:
            self.instruction = self._sent[0]


def _row(now_s: float, host: _Host, firmware: Firmware) -> tuple[float, ...]:
    heat = host.heat
    return (
        now_s, host.instruction, *firmware.motion.position_m(now_s)[:3], firmware.plant.fan, math.nan, math.nan,
        heat.hotend_c, heat.hotend_target_c, heat.hotend_duty, heat.bed_c, heat.bed_target_c, heat.bed_duty,
    )  # fmt: skip


def judge(rehearsals: list[Rehearsal]) -> list[dict[str, Any]]:
    """For each parameter of which the truth is known: errors and the share of 90 % intervals that hold the truth.

    Errors and half-widths are relative, those of temperatures in K.
    """
    names = [each.name for each in rehearsals[0].found.estimates] if rehearsals else []
    return [_judged(name, rehearsals) for name in names if name in rehearsals[0].truth]


def _judged(name: str, rehearsals: list[Rehearsal]) -> dict[str, Any]:
    pairs = [(each.found.estimate(name), each.truth[name]) for each in rehearsals]
    pairs = [(found, truth) for found, truth in pairs if found.identified]
    kelvin = name.endswith(".ambient")
    errors = [abs(found.value - truth) / (1.0 if kelvin else truth) for found, truth in pairs]
    halves = [0.5 * (found.high - found.low) / (1.0 if kelvin else truth) for found, truth in pairs]
    inside = [found.low <= truth <= found.high for found, truth in pairs]
    return {
        "name": name, "unit": "K" if kelvin else "1", "identified": len(pairs),
        "median_error": median(errors) if pairs else math.nan, "worst_error": max(errors, default=math.nan),
        "half_width": median(halves) if pairs else math.nan,
        "coverage": sum(inside) / len(inside) if pairs else math.nan,
    }  # fmt: skip
