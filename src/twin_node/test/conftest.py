"""A small job, and a machine that runs it with physics of its own: Euler steps and a proportional controller."""

import dataclasses
import math
import sys

import pytest

from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion, position_at
from industriverse_core.program import Heater, Metadata, Op, build_program
from industriverse_core.telemetry import HeaterReading, MachineState, TelemetrySample

EULER_S = 0.05


@pytest.fixture(scope="session")
def printer():
    return load_machine("prusa_mk3s")


@pytest.fixture(scope="session")
def pla():
    return load_material("PLA")


@pytest.fixture(scope="session")
def program():
    """Heat, home, level, draw forty squares with a retraction each, switch all off."""
    rows = [
        {"op": Op.SET_HEATER, "target": Heater.HOTEND, "value": 200.0},
        {"op": Op.SET_HEATER, "target": Heater.BED, "value": 50.0},
        {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 50.0},
        {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 200.0},
        {"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0},
        {"op": Op.LEVEL_BED},
        {"op": Op.SET_FAN, "value": 1.0},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.05, "y_m": 0.05, "z_m": 0.001, "feed_m_s": 0.1},
    ]
    for _ in range(40):
        rows.append({"op": Op.STRAIGHT_FEED, "extrude_m3": -2e-9, "feed_m_s": 0.03})
        rows.append({"op": Op.STRAIGHT_FEED, "extrude_m3": 2e-9, "feed_m_s": 0.03})
        for x, y in ((0.09, 0.05), (0.09, 0.09), (0.05, 0.09), (0.05, 0.05)):
            rows.append({"op": Op.STRAIGHT_FEED, "x_m": x, "y_m": y, "extrude_m3": 5e-9, "feed_m_s": 0.06})
    rows += [
        {"op": Op.SET_FAN, "value": 0.0},
        {"op": Op.SET_HEATER, "target": Heater.HOTEND, "value": 0.0},
        {"op": Op.SET_HEATER, "target": Heater.BED, "value": 0.0},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.0, "y_m": 0.2, "feed_m_s": 0.06},
        {"op": Op.MOTORS_OFF},
    ]
    return build_program([{"line": number + 1, **row} for number, row in enumerate(rows)], Metadata(material="PLA"))


@dataclasses.dataclass
class Plant:
    """One heater of the fake machine."""

    heater: object
    temperature_c: float
    target_c: float = 0.0
    duty: float = 0.0
    energy_j: float = 0.0
    lost_w: float = 0.0

    def step(self, ambient_c, fan, flow_w, dt):
        loss = self.heater.loss + self.heater.fan_loss * fan
        wanted = loss * (self.target_c - ambient_c) + flow_w
        wanted += self.heater.power * (self.target_c - self.temperature_c)  # proportional band of 1 degC
        power = min(max(wanted, 0.0), self.heater.power) if self.target_c > 0 else 0.0
        self.duty = power / self.heater.power
        self.energy_j += power * dt
        self.lost_w = loss * (self.temperature_c - ambient_c)
        self.temperature_c += (power - self.lost_w - flow_w) * dt / self.heater.heat_capacity


class Machine:
    """Runs a program in simulated time and reports telemetry."""

    def __init__(self, profile, program, material, job_id="J1"):
        self.profile, self.program, self.job_id = profile, program, job_id
        self.plan = plan_motion(program, profile)
        self.enthalpy = material.print_enthalpy_j_per_kg(200.0, profile.ambient) * material.density
        self.hotend, self.bed = Plant(profile.hotend, profile.ambient), Plant(profile.bed, profile.ambient)
        self.time_s, self.energy_j, self.power_w, self.fan = 100.0, 5e3, 0.0, 0.0
        self.motors = False
        self.air_c = profile.ambient

    def run(self, period_s=0.5):
        """Yields (sample) every `period_s` of machine time, to the end of the job and the sample after it."""
        due = self.time_s
        for index in range(len(self.program)):
            for since in self._execute(index):
                if self.time_s >= due - 1e-9:
                    due += period_s
                    yield self.sample(index, since)
        yield self.sample(len(self.program) - 1, 0.0)
        self.job_id = ""
        self._step(0.0, 0.0)
        yield self.sample(0, 0.0)

    def sample(self, index, since, **changes):
        clock = float(self.plan.end_s[index] - self.plan.duration_s[index] + since)
        values = {
            "stamp_s": self.time_s, "machine_id": self.profile.id, "incarnation": 1, "challenge": 2,
            "state": MachineState.EXECUTING if self.job_id else MachineState.IDLE, "job_id": self.job_id,
            "program_digest": self.program.digest if self.job_id else bytes(32), "instruction": index,
            "progress": clock / self.plan.total_s, "position_m": position_at(self.plan, self.program, clock).position_m,
            "heaters": (
                HeaterReading(Heater.HOTEND, self.hotend.temperature_c, self.hotend.target_c, self.hotend.duty),
                HeaterReading(Heater.BED, self.bed.temperature_c, self.bed.target_c, self.bed.duty),
            ),
            "fan": self.fan, "power_w": self.power_w, "energy_j": self.energy_j,
        }  # fmt: skip
        return TelemetrySample(**{**values, **changes})

    def _execute(self, index):
        """Yields the time since the instruction's begin after every Euler step."""
        op, value = int(self.program.op[index]), float(self.program.value[index])
        plant = self.hotend if self.program.target[index] == Heater.HOTEND else self.bed
        if op in (Op.SET_HEATER, Op.WAIT_HEATER):
            plant.target_c = value
        if op == Op.SET_FAN:
            self.fan = value
        duration = float(self.plan.duration_s[index])
        if op in (Op.HOME, Op.LEVEL_BED):
            kinematics = self.profile.kinematics
            duration = kinematics.homing_time if op == Op.HOME else kinematics.leveling_time
        self.motors = (self.motors or duration > 0) and op != Op.MOTORS_OFF
        if op == Op.WAIT_HEATER:
            while plant.temperature_c < value - plant.heater.window:
                self._step(0.0, 0.0)
                yield 0.0
            duration = plant.heater.settle_time
        melted = float(self.program.extrude_m3[index]) if self.plan.length_m[index] > 0 else 0.0
        steps = math.ceil(duration / EULER_S)
        for step in range(steps):
            dt = duration / steps
            moves = op == Op.STRAIGHT_FEED and abs(melted) != 2e-9
            rate = (melted if moves else 0.0) / duration
            self._step(rate * self.enthalpy, float(self.plan.length_m[index]) / duration if moves else 0.0, dt)
            yield (step + 1) * dt if op == Op.STRAIGHT_FEED else 0.0

    def _step(self, flow_w, speed_m_s, dt=EULER_S):
        power, before = self.profile.power, self.hotend.energy_j + self.bed.energy_j
        self.hotend.step(self.air_c, self.fan, flow_w, dt)
        self.bed.step(self.air_c, self.fan, 0.0, dt)
        inside = power.motors_enabled * self.motors + power.fan * self.fan + power.motion_per_speed * speed_m_s
        inside += power.hotend_fan * (self.hotend.temperature_c > 50.0)
        rest = power.electronics + inside
        if self.profile.enclosure is not None:
            box = self.profile.enclosure
            given = inside + self.hotend.lost_w + self.bed.lost_w - box.loss * (self.air_c - self.profile.ambient)
            self.air_c += given * dt / box.heat_capacity
        self.power_w = rest + (self.hotend.energy_j + self.bed.energy_j - before) / dt
        self.energy_j += self.power_w * dt
        self.time_s += dt


@pytest.fixture
def machine(printer, program, pla):
    return Machine(printer, program, pla)


@pytest.fixture(scope="session")
def fine_samples(printer, program, pla):
    """The job's samples every 0.01 s of motion, without the one that repeats its stamp."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "EULER_S", 0.01)
        return [sample for sample in Machine(printer, program, pla).run(0.01) if sample.job_id][:-1]


@pytest.fixture
def make_machine(program, pla):
    """A machine whose true parameters differ from the profile that the twin has."""

    def make(profile, **heater_changes):
        changed = {name: getattr(profile, name).model_copy(update=changes) for name, changes in heater_changes.items()}
        return Machine(profile.model_copy(update=changed), program, pla)

    return make
