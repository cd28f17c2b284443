"""What is done about a threat: one table from cause, probability and severity to a level, and what keeps it steady.

Times are the shield's steady clock [s].

`python -m shield_node.responses` prints the table as docs/safety.md has it. Statistics that may be wrong make the
machine slower or hold it; only what is nearly certain latches.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode
from industriverse_core.threats import Cause, Level, ThreatEstimate

CALM_S = 0.5  # a softer response waits until nothing harder was asked for so long; below the grace time
SLOW = 0.5  # speed scale of REDUCED


@dataclass(frozen=True, slots=True)
class Response:
    """What the machine may do, and why.

    Attributes:
        level: see Level.
        speed_scale: 0 < scale <= 1; 1 unless the level is REDUCED.
        code, message: of the cause; OK and "" for RUN.
        waits: a HOLD that ends by itself, however long it takes; any other HOLD latches after the grace time.
        at_rest: a stop that latches although no program is armed.
    """

    level: Level = Level.RUN
    speed_scale: float = 1.0
    code: ErrorCode = ErrorCode.OK
    message: str = ""
    waits: bool = False
    at_rest: bool = False

    @property
    def hardness(self) -> tuple[int, float, bool]:
        """Sorts responses: the harder the higher."""
        return int(self.level), -self.speed_scale, not self.waits


RUN = Response()


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: the level for a cause, once the estimate has been so likely and so severe for `lasts_s`."""

    cause: Cause
    probability: float
    severity: float
    lasts_s: float
    level: Level
    why: str
    at_rest: bool = False

    def applies(self, estimate: ThreatEstimate) -> bool:
        """True when the estimate reaches both numbers; never for NaN."""
        likely = estimate.probability >= self.probability and estimate.severity >= self.severity
        return estimate.cause is self.cause and likely


LIKELY, SURE, CERTAIN = 0.9, 0.97, 0.995
RULES = (
    Rule(Cause.UNKNOWN, SURE, 0.0, 3.0, Level.REDUCED, "it has no name: slower, so that less happens until it has one"),
    Rule(Cause.HEATER_FAULT, LIKELY, 0.0, 1.0, Level.REDUCED, "less heat is needed at half the speed"),
    Rule(Cause.HEATER_FAULT, SURE, 0.0, 0.5, Level.STOP1, "a part of cold plastic, or a heater that has come loose"),
    Rule(Cause.THERMAL_RUNAWAY, LIKELY, 0.0, 0.5, Level.HOLD, "latches within the grace time, heaters off"),
    Rule(Cause.THERMAL_RUNAWAY, SURE, 0.0, 0.2, Level.STOP1, "heaters off at once; also when nothing is made", True),
    Rule(Cause.CLOG, LIKELY, 0.0, 2.0, Level.REDUCED, "half the flow may still pass"),
    Rule(Cause.CLOG, SURE, 0.0, 2.0, Level.HOLD, "nothing is printed any more"),
    Rule(Cause.LOST_STEPS, LIKELY, 0.0, 0.5, Level.REDUCED, "half the speed needs less torque"),
    Rule(Cause.LOST_STEPS, SURE, 0.0, 0.5, Level.STOP1, "the tool is not where the checked program has it"),
    Rule(Cause.VIBRATION, SURE, 0.0, 3.0, Level.REDUCED, "half the speed excites less; bursts alone stop nothing"),
    Rule(Cause.POWER_ANOMALY, SURE, 0.0, 2.0, Level.REDUCED, "half the speed draws less"),
    Rule(Cause.POWER_ANOMALY, CERTAIN, 0.0, 2.0, Level.HOLD, "the supply fails, or something takes what it should not"),
    Rule(Cause.COLLISION, LIKELY, 0.0, 0.0, Level.HOLD, "whatever is in the way is pushed no further"),
    Rule(Cause.COLLISION, SURE, 0.0, 0.0, Level.STOP1, "the tool is not where the checked program has it"),
    Rule(Cause.COLLISION, CERTAIN, 0.8, 0.0, Level.STOP0, "the force must end at once"),
    Rule(Cause.OPERATOR_DANGER, 0.5, 0.0, 0.0, Level.REDUCED, "doubt about a person is a reason"),
    Rule(Cause.OPERATOR_DANGER, LIKELY, 0.0, 0.0, Level.HOLD, "beside the distances below, which act by themselves"),
    Rule(Cause.PROGRAM_TAMPERING, LIKELY, 0.0, 0.0, Level.STOP1, "what runs is not what was checked"),
    Rule(Cause.SENSOR_FAULT, LIKELY, 0.0, 1.0, Level.REDUCED, "what it watched is half unwatched"),
    Rule(Cause.SENSOR_FAULT, SURE, 0.0, 1.0, Level.HOLD, "nobody knows what the machine does"),
)
SILENT = {
    Cause.NONE: "nothing is wrong",
    Cause.NETWORK_FAULT: "said, and nothing more: what is late ends permits by itself, what is forged moves nothing",
}


class Responder:
    """From one estimate a tick to the response: rows act when they have lasted, and end after a calm."""

    def __init__(self) -> None:
        self._since_s: dict[Rule, float] = {}
        self._steady = Steady()

    def observe(self, estimate: ThreatEstimate, now_s: float) -> Response:
        """The response now."""
        self._since_s = {rule: self._since_s.get(rule, now_s) for rule in RULES if rule.applies(estimate)}
        lasting = [rule for rule, since_s in self._since_s.items() if now_s - since_s >= rule.lasts_s]
        rule = max(lasting, key=lambda each: each.level, default=None)
        return self._steady.observe(RUN if rule is None else _response(rule, estimate), now_s)


def _response(rule: Rule, estimate: ThreatEstimate) -> Response:
    scale = SLOW if rule.level is Level.REDUCED else 1.0
    return Response(rule.level, scale, ErrorCode.THREAT, sentence(estimate), at_rest=rule.at_rest)


def sentence(estimate: ThreatEstimate) -> str:
    """What was seen; cause and probability where the estimate does not say it."""
    cause = estimate.cause.name.lower().replace("_", " ")
    return estimate.message or f"{cause.capitalize()} ({estimate.probability:.1%} sure)."


class Steady:
    """Harder at once, softer only after a calm: the hardest response of the last `calm_s`."""

    def __init__(self, calm_s: float = CALM_S) -> None:
        self._calm_s = calm_s
        self._asked: deque[tuple[float, Response]] = deque()  # softer ones are behind harder ones

    def observe(self, asked: Response, now_s: float) -> Response:
        """The response now."""
        while self._asked and self._asked[-1][1].hardness <= asked.hardness:
            self._asked.pop()
        self._asked.append((now_s, asked))
        while now_s - self._asked[0][0] >= self._calm_s and len(self._asked) > 1:
            self._asked.popleft()
        return self._asked[0][1]


def document() -> str:
    """The table in Markdown."""
    lines = ["| cause | probability from | severity from | for [s] | level | because |", "|---|---|---|---|---|---|"]
    for rule in RULES:
        level = f"{rule.level.name}, speed {SLOW:g}" if rule.level is Level.REDUCED else rule.level.name
        numbers = f"{rule.probability:g} | {rule.severity:g} | {rule.lasts_s:g}"
        lines.append(f"| {rule.cause.name} | {numbers} | {level} | {rule.why} |")
    lines += [f"| {cause.name} | – | – | – | RUN | {why} |" for cause, why in SILENT.items()]
    return "\n".join(lines) + "\n"


def certain(cause: Cause, stamp_s: float = math.nan, message: str = "", severity: float = 0.0) -> ThreatEstimate:
    """An estimate without doubt: what was seen by itself is the cause."""
    probabilities = tuple(float(each is cause) for each in Cause)
    return ThreatEstimate(stamp_s, cause, 1.0, severity, (), probabilities, message)


if __name__ == "__main__":
    print(document(), end="")
