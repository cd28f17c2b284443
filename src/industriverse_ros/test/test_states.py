"""Every enum of the core that travels as a number has exactly the constants of its message."""

import pytest

import industriverse_msgs.msg as im
from industriverse_core.artefacts import Severity, Subsystem, Verdict
from industriverse_core.permit import StopLevel
from industriverse_core.program import Heater
from industriverse_core.states import JobStage, Outcome, Safety
from industriverse_core.telemetry import MachineState, Quantity
from industriverse_msgs.action import ExecuteProgram

PAIRS = {
    JobStage: im.JobState,
    Safety: im.SafetyState,
    Outcome: ExecuteProgram.Result,
    MachineState: im.MachineTelemetry,
    Quantity: im.ResidualChannel,
    Severity: im.Finding,
    Verdict: im.GateReport,
    Subsystem: im.SubsystemEnergy,
    Heater: im.HeaterReading,
    StopLevel: im.StopRequest,
}


def constants(message):
    """Names and values that a message defines, without UNKNOWN, which no enum has."""
    found = {name: getattr(message, name) for name in dir(type(message)) if name.isupper() and name[0] != "_"}
    assert found.pop("UNKNOWN") == 0
    return found


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_an_enum_has_the_numbers_of_its_message(kind):
    assert {item.name: item.value for item in kind} == constants(PAIRS[kind])
