"""What may be wrong with a machine, how sure that is, and what is done about it: values that flow between the rooms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from industriverse_core.digest import NO_DIGEST, Digest


class Cause(IntEnum):
    """Named causes of a threat. Values as in Decision.msg."""

    UNKNOWN = 0  # something is wrong that has no name here
    NONE = 1  # nothing is wrong
    HEATER_FAULT = 2  # does not heat as it is told
    THERMAL_RUNAWAY = 3  # heats though it is told not to
    CLOG = 4  # clogged nozzle, or no filament
    LOST_STEPS = 5  # belt slip, lost steps: the tool is not where the controller believes
    VIBRATION = 6  # bearing, loose part, chatter
    POWER_ANOMALY = 7  # supply sags, or takes more or less than it should
    COLLISION = 8
    OPERATOR_DANGER = 9  # a person is too near
    PROGRAM_TAMPERING = 10  # what runs is not what was checked
    SENSOR_FAULT = 11  # a sensor does not tell the truth
    NETWORK_FAULT = 12  # messages late, lost, forged or repeated


class Level(IntEnum):
    """What the machine may do, the harder the higher. Values as in Decision.msg."""

    RUN = 1
    REDUCED = 2  # at a speed scale below 1
    HOLD = 3  # category 2
    STOP1 = 4  # category 1
    STOP0 = 5  # category 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for or against a cause.

    Attributes:
        detector: who saw it, e.g. "verify_heater".
        channel: in what, e.g. "hotend_temperature".
        value, limit: what was seen and from where on it counts; the detector's own unit.
        weight: what it adds to the log-odds of the cause.
    """

    detector: str
    channel: str
    value: float
    limit: float
    weight: float


@dataclass(frozen=True, slots=True)
class ThreatEstimate:
    """The fused estimate at one moment.

    Attributes:
        stamp_s: of the newest sample that was used.
        cause: the likeliest cause; NONE when nothing is likelier.
        probability: of that cause, calibrated.
        severity: 0..1, harm to be expected if the cause is real and nothing is done.
        evidence: what weighs most, strongest first, at most eight.
        probabilities: of every cause, in the order of Cause; they sum to 1.
        message: a sentence: what was seen, what is allowed; "" when nothing is wrong.
    """

    stamp_s: float
    cause: Cause
    probability: float
    severity: float
    evidence: tuple[Evidence, ...]
    probabilities: tuple[float, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the shield decided at one tick, and from what. Fields as in Decision.msg.

    `steady_s` is the shield's own clock at the tick; the stamps name the newest message of each source that it had
    then (NaN = none), so that the decision can be made again from a recording.
    """

    stamp_s: float
    machine_id: str
    incarnation: int
    tick: int
    steady_s: float
    level: Level
    speed_scale: float
    threat: ThreatEstimate
    state: int = 0  # of the permit machine, as in SafetyState.msg
    program_digest: Digest = NO_DIGEST
    telemetry_stamp_s: float = float("nan")
    residual_stamp_s: float = float("nan")
    latency_s: float = float("nan")  # from the receipt of the newest telemetry to this decision
