"""What is wrong with one machine, from all that is heard of it. Pure; every call takes the time.

`now_s` is the receiver's steady clock and counts for lateness alone. Physics runs by the stamps in the samples: beside
a virtual machine at twelve times real time these go twelve times faster.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater
from industriverse_core.telemetry import (
    MachineState,
    PowerSample,
    Quantity,
    ResidualSample,
    TelemetrySample,
    VibrationSample,
)
from industriverse_core.threats import Cause, Evidence, ThreatEstimate
from shield_node.detectors.heaters import HeaterFault
from shield_node.threats.electric import MeterWatch, PowerBudget
from shield_node.threats.fusion import CAUSES, REFERENCE, FusionModel, shipped_model
from shield_node.threats.scores import KINDS, LARGEST, Cusum, Score, bounded
from shield_node.threats.thermal import HeaterWatch
from shield_node.threats.vibration import VibrationWatch

MOST_EVIDENCE = 8
LEAST_WEIGHT = 0.05  # of evidence that is worth naming [log-odds]
RESIDUAL_SLACK = 3.0  # standard deviations of the twin that may last for ever
MOST_SIGMA = 10.0  # that one comparison may count: a single one may be out of step
INCIDENT_S = 2.0  # for which an incident counts after it was last seen [steady s]
RANGE_MARGIN_M = 5e-3
MOVED_M = 1e-4
STILL_AFTER_S = 3.0  # without motion: it stands; motion is reported once a second
BACKWARDS_LIMIT = 3.0  # stamps in a row that go back
LONGEST_STEP_S = 5.0  # of a sum; a longer gap says nothing of what lay in it
# harm to be expected when the cause is real and nothing is done, 0..1
SEVERITY = {
    Cause.NONE: 0.0, Cause.UNKNOWN: 0.5, Cause.HEATER_FAULT: 0.5, Cause.THERMAL_RUNAWAY: 1.0, Cause.CLOG: 0.2,
    Cause.LOST_STEPS: 0.4, Cause.VIBRATION: 0.4, Cause.POWER_ANOMALY: 0.5, Cause.COLLISION: 0.8,
    Cause.OPERATOR_DANGER: 1.0, Cause.PROGRAM_TAMPERING: 1.0, Cause.SENSOR_FAULT: 0.7, Cause.NETWORK_FAULT: 0.3,
}  # fmt: skip
NAMES = {
    Cause.UNKNOWN: "something unknown", Cause.HEATER_FAULT: "a heater that does not heat",
    Cause.THERMAL_RUNAWAY: "a heater that heats without being told to", Cause.CLOG: "a clogged nozzle or no filament",
    Cause.LOST_STEPS: "a tool that is not where the controller believes", Cause.VIBRATION: "vibration",
    Cause.POWER_ANOMALY: "the electric supply", Cause.COLLISION: "a collision",
    Cause.OPERATOR_DANGER: "a person too near",
    Cause.PROGRAM_TAMPERING: "a program that is not the checked one", Cause.SENSOR_FAULT: "a sensor that lies",
    Cause.NETWORK_FAULT: "messages late, lost or forged",
}  # fmt: skip
_RESIDUALS = {
    Quantity.HOTEND_TEMPERATURE: (Score.RESIDUAL_HOTEND_HIGH, Score.RESIDUAL_HOTEND_LOW),
    Quantity.BED_TEMPERATURE: (Score.RESIDUAL_BED_HIGH, Score.RESIDUAL_BED_LOW),
    Quantity.POSITION: (Score.RESIDUAL_POSITION, None),
    Quantity.POWER: (Score.RESIDUAL_POWER_HIGH, Score.RESIDUAL_POWER_LOW),
}
_HEATER_SCORES = {
    Heater.HOTEND: (Score.HOTEND_SENSOR, Score.HOTEND_NOT_HEATING, Score.HOTEND_RUNAWAY, Score.HOTEND_HEAT_EXCESS,
                    Score.HOTEND_HEAT_DEFICIT),
    Heater.BED: (Score.BED_SENSOR, Score.BED_NOT_HEATING, Score.BED_RUNAWAY, Score.BED_HEAT_EXCESS,
                 Score.BED_HEAT_DEFICIT),
}  # fmt: skip
# of controllers that have halted by themselves (Marlin's error strings)
_FATAL_WORDS = {
    Score.CONTROLLER_HEATER: ("thermal runaway", "heating failed"),
    Score.CONTROLLER_SENSOR: ("mintemp", "maxtemp", "temp malfunction"),
}
# weighed by what printers show; a mill's spindle and cuts change all of these in health, and were not measured
PRINTERS_ONLY = (
    Score.POWER_EXCESS, Score.POWER_DEFICIT, Score.RESIDUAL_POSITION, Score.RESIDUAL_POWER_HIGH,
    Score.RESIDUAL_POWER_LOW, Score.VIBRATION,
)  # fmt: skip
_FAULT_ORDER = (HeaterFault.SENSOR, HeaterFault.NOT_HEATING, HeaterFault.RUNAWAY)


class ThreatIdentifier:
    """One machine. Its streams may come in any order, late, broken, or not at all: nothing here raises for them.

    Args:
        profile: the machine.
        model: weights; None = those of the package.
    """

    def __init__(self, profile: MachineProfile, model: FusionModel | None = None) -> None:
        self._profile = profile
        self._model = shipped_model() if model is None else model
        self.values = np.zeros(len(KINDS))  # of each detector, in its own unit
        self._judged = 1.0 / _LIMITS
        if profile.kind != "printer":
            self._judged[list(PRINTERS_ONLY)] = 0.0
        self._incidents: dict[tuple[Cause, str, str], tuple[Evidence, float]] = {}
        self._stamp_s = math.nan  # newest of all samples that were used
        self._heard_s = math.nan  # steady time of the last telemetry
        self._backwards = 0.0
        self._telemetry: TelemetrySample | None = None
        self._moved_s = -math.inf
        self._moving_from: tuple[float, ...] = ()
        self._heaters = self._make_heaters()
        self._budget = PowerBudget(profile, KINDS[Score.POWER_EXCESS].limit)
        self._meter = MeterWatch()
        self._vibration = VibrationWatch(KINDS[Score.VIBRATION].limit)
        self._residual_s = math.nan
        self._residuals = {
            score: Cusum(RESIDUAL_SLACK, KINDS[score].limit) for pair in _RESIDUALS.values() for score in pair if score
        }

    def _make_heaters(self) -> dict[Heater, HeaterWatch]:
        profile, watches = self._profile, {}
        flow = profile.extruder.max_flow if profile.extruder is not None else 0.0
        for heater, node, melts in ((Heater.HOTEND, profile.hotend, flow), (Heater.BED, profile.bed, 0.0)):
            if node is not None:
                limit = KINDS[_HEATER_SCORES[heater][3]].limit
                name = "hot end" if heater is Heater.HOTEND else "bed"
                enclosed = profile.enclosure is not None
                watches[heater] = HeaterWatch(name, node, profile.ambient, melts, enclosed, limit)
        return watches

    def begin_job(self, job_id: str) -> None:
        """A job begins: sums of the job before are forgotten; what was learnt of the machine is kept."""
        for cusum in self._residuals.values():
            cusum.value = 0.0
        for score in self._residuals:
            self.values[score] = 0.0

    def reset(self) -> None:
        """An operator has cleared a stop: evidence is gathered anew; what was learnt of the machine is kept."""
        self.begin_job("")
        self._incidents.clear()
        self._vibration.forget()
        self._forget_machine()
        self.values[:] = 0.0

    def _forget_machine(self) -> None:
        """Its clock and its temperatures begin anew."""
        self._telemetry = None
        self._residual_s = math.nan
        self._backwards = 0.0
        self._moved_s = -math.inf
        self._heaters = self._make_heaters()
        self._budget = PowerBudget(self._profile, KINDS[Score.POWER_EXCESS].limit)

    # --- what is heard ---

    def observe_telemetry(self, sample: TelemetrySample, now_s: float) -> None:
        """A sample of the machine."""
        self._heard_s = now_s
        last = self._telemetry
        if last is not None and sample.incarnation != last.incarnation:
            self._forget_machine()
            last = None
        in_order = sample.stamp_s >= last.stamp_s if last is not None else math.isfinite(sample.stamp_s)
        self._backwards = 0.0 if in_order else self._backwards + 1.0
        self.values[Score.TELEMETRY_ORDER] = self._backwards / BACKWARDS_LIMIT
        if not in_order:
            return
        self._telemetry = sample
        self._seen(sample.stamp_s)
        moving = self._is_moving(sample)
        executing = sample.state in (MachineState.EXECUTING, MachineState.HOLDING)
        for heater, watch in self._heaters.items():
            watch.observe(sample.reading(heater), _share(sample.fan), executing, sample.stamp_s)
            self._take_heater(heater, watch)
        self._take_power(sample, moving)
        words = sample.error_msg.lower() if sample.state is MachineState.FAULT else ""
        for score, fatal in _FATAL_WORDS.items():
            self.values[score] = float(any(each in words for each in fatal))
        self.values[Score.POSITION_RANGE] = float(self._out_of_range(sample))

    def observe_residual(self, sample: ResidualSample, now_s: float) -> None:
        """The twin's comparison. `now_s` is not used: its lateness is the shield's to judge."""
        dt = sample.stamp_s - self._residual_s
        if dt < 0.0:
            return
        self._residual_s = sample.stamp_s
        self._seen(sample.stamp_s)
        if not 0.0 < dt <= LONGEST_STEP_S:
            return
        for channel in sample.channels:
            high, low = _RESIDUALS[channel.quantity]
            z = min(max(channel.z_score, -MOST_SIGMA), MOST_SIGMA)
            self.values[high] = self._residuals[high].step(z, dt)
            if low is not None:
                self.values[low] = self._residuals[low].step(-z, dt)

    def observe_vibration(self, sample: VibrationSample, now_s: float) -> None:
        """Features of a burst."""
        self._seen(sample.stamp_s)
        self._vibration.observe(sample, self._moves_at(sample.stamp_s))
        self.values[Score.VIBRATION] = self._vibration.value

    def observe_power(self, sample: PowerSample, now_s: float) -> None:
        """A meter's reading."""
        self._seen(sample.stamp_s)
        meter = self._meter
        meter.observe(sample)
        self.values[Score.VOLTAGE] = meter.voltage_off
        self.values[Score.ENERGY_COUNTER] = meter.counter_off
        self.values[Score.METER_RANGE] = float(meter.impossible)

    def observe_incident(self, cause: Cause, evidence: Evidence, now_s: float) -> None:
        """Something that others judge (a forged permit, a person, a changed program): `evidence.weight` is added to the
        log-odds of the cause for INCIDENT_S after it was last seen."""
        if math.isfinite(evidence.weight):
            self._incidents[cause, evidence.detector, evidence.channel] = (evidence, now_s)

    # --- what follows ---

    def scores(self, now_s: float) -> np.ndarray:
        """(scores,) of every detector; the columns of a score table."""
        late_s = now_s - self._heard_s
        self.values[Score.TELEMETRY_LATE] = late_s if late_s > 0.0 else 0.0
        return bounded(np.minimum(self.values, _MOST) * self._judged)

    def estimate(self, now_s: float) -> ThreatEstimate:
        """What is likeliest now, and why."""
        scores = self.scores(now_s)
        incidents = self._current_incidents(now_s)
        extra = np.zeros(len(CAUSES))
        for cause, evidence in incidents:
            extra[CAUSES.index(cause)] += evidence.weight
        shares = self._model.probabilities(scores, extra)
        at = int(np.argmax(shares))
        cause = CAUSES[at]
        evidence = self._evidence(at if at != REFERENCE else _second(shares), scores, incidents)
        return ThreatEstimate(
            stamp_s=self._stamp_s,
            cause=cause,
            probability=float(shares[at]),
            severity=SEVERITY[cause],
            evidence=evidence,
            probabilities=tuple(shares.tolist()),
            message=self._message(cause, float(shares[at]), evidence),
        )

    def _evidence(self, at: int, scores: np.ndarray, incidents: list[tuple[Cause, Evidence]]) -> tuple[Evidence, ...]:
        """What speaks for a cause, strongest first."""
        found = [evidence for cause, evidence in incidents if cause is CAUSES[at]]
        weights = self._model.weights[at] * scores
        for score in np.flatnonzero(weights > LEAST_WEIGHT):
            kind = KINDS[score]
            found.append(
                Evidence(kind.detector, kind.channel, float(self.values[score]), kind.limit, float(weights[score]))
            )
        return tuple(sorted(found, key=lambda each: -each.weight)[:MOST_EVIDENCE])

    def _message(self, cause: Cause, probability: float, evidence: tuple[Evidence, ...]) -> str:
        if cause is Cause.NONE:
            return ""
        seen = "no single detector stands out"
        if evidence:
            first = evidence[0]
            seen = f"{first.detector} of {first.channel} is {first.value:.3g}, {first.limit:.3g} is allowed"
        alarms = " ".join(watch.message for watch in self._heaters.values() if watch.message)
        return f"{self._profile.id}: {NAMES[cause]} ({100.0 * probability:.0f} %): {seen}. {alarms}".strip()

    # --- helpers ---

    def _seen(self, stamp_s: float) -> None:
        if not stamp_s <= self._stamp_s and math.isfinite(stamp_s):
            self._stamp_s = stamp_s

    def _take_heater(self, heater: Heater, watch: HeaterWatch) -> None:
        *faults, excess, deficit = _HEATER_SCORES[heater]
        for score, fault in zip(faults, _FAULT_ORDER, strict=True):
            self.values[score] = float(watch.fault is fault)
        self.values[excess], self.values[deficit] = watch.excess.value, watch.deficit.value

    def _take_power(self, sample: TelemetrySample, moving: bool) -> None:
        hotend = sample.reading(Heater.HOTEND)
        self._budget.observe(
            sample.stamp_s,
            sample.power_w,
            math.fsum(watch.duty_w for watch in self._heaters.values()),
            _share(sample.fan),
            math.nan if hotend is None else hotend.temperature_c,
            moving,
        )
        self.values[Score.POWER_EXCESS] = self._budget.excess.value
        self.values[Score.POWER_DEFICIT] = self._budget.deficit.value

    def _is_moving(self, sample: TelemetrySample) -> bool:
        """The tool has moved within STILL_AFTER_S."""
        place = (*sample.position_m, *sample.reported_position_m)
        before, self._moving_from = self._moving_from, place
        if len(before) == len(place) and any(abs(a - b) > MOVED_M for a, b in zip(before, place, strict=True)):
            self._moved_s = sample.stamp_s
        return self._moves_at(sample.stamp_s)

    def _moves_at(self, stamp_s: float) -> bool:
        return stamp_s - self._moved_s < STILL_AFTER_S

    def _out_of_range(self, sample: TelemetrySample) -> bool:
        """The controller reports a place that the machine does not have."""
        axes = self._profile.kinematics.axes()
        return any(
            not axis.minimum - RANGE_MARGIN_M <= value <= axis.maximum + RANGE_MARGIN_M
            for axis, value in zip(axes, sample.reported_position_m, strict=True)
            if math.isfinite(value)
        )

    def _current_incidents(self, now_s: float) -> list[tuple[Cause, Evidence]]:
        stale = [key for key, (_, seen_s) in self._incidents.items() if now_s - seen_s > INCIDENT_S]
        for key in stale:
            del self._incidents[key]
        return [(key[0], evidence) for key, (evidence, _) in self._incidents.items()]


_LIMITS = np.array([kind.limit for kind in KINDS])
_MOST = LARGEST * _LIMITS


def _second(shares: np.ndarray) -> int:
    """The likeliest cause beside NONE."""
    others = shares.copy()
    others[REFERENCE] = -1.0
    return int(np.argmax(others))


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
