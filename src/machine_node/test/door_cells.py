"""A cell that the doors' tests look at: two machines with all that can be heard of them."""

from industriverse_core.machine import load_machine
from industriverse_core.program import Heater
from industriverse_core.states import JobStage, Safety
from industriverse_core.telemetry import (
    HeaterReading,
    MachineState,
    Quantity,
    ResidualChannel,
    ResidualSample,
    TelemetrySample,
    Trace,
)
from machine_node.doors.model import CellModel, JobView, JointView, PowerView, SafetyView

PRINTER, MILL = "prusa_mk3s", "grbl_mill"
DIGEST = bytes(range(32))


def sample(state=MachineState.EXECUTING, machine=PRINTER, **fields):
    known = {
        "stamp_s": 12.5,
        "machine_id": machine,
        "incarnation": 1,
        "challenge": 2,
        "state": state,
        "job_id": "job-7",
        "program_digest": DIGEST,
        "instruction": 41,
        "progress": 0.25,
        "position_m": (0.1, 0.02, 0.0003),
        "reported_position_m": (0.099, 0.02, 0.0003),
        "heaters": (HeaterReading(Heater.HOTEND, 214.96, 215.0, 0.4), HeaterReading(Heater.BED, 59.5, 60.0)),
        "fan": 0.5,
        "power_w": 123.4,
        "energy_j": 45678.0,
        "queued_s": 0.15,
    }
    return TelemetrySample(**{**known, **fields})


def make_model(*machines):
    return CellModel("demo", [load_machine(name) for name in machines or (PRINTER, MILL)])


def feed(model, steady_s=100.0, **fields):
    """Everything that can be heard of the printer; nothing of the mill."""
    model.observe_telemetry(sample(**fields), steady_s)
    model.observe_trace(Trace(12.5, PRINTER, "job-7", DIGEST, 44, 43, 42, 170))
    model.observe_job(PRINTER, JobView("job-7", JobStage.EXECUTING, "washer_pla", "washer", 0.25, 0, ""))
    model.observe_safety(PRINTER, SafetyView(12.4, Safety.PERMITTING, 0, 0, 0, "", 99), steady_s)
    model.observe_power(PRINTER, PowerView(12.5, 230.0, 0.54, 123.4, 45678.0), steady_s)
    model.observe_joints(PRINTER, JointView(12.5, ("x", "y", "z"), (0.1, 0.02, 0.0003), ()), steady_s)
    channel = ResidualChannel(Quantity.HOTEND_TEMPERATURE, 215.0, 214.96, 0.5)
    model.observe_residual(ResidualSample(12.5, PRINTER, 1, "job-7", DIGEST, 41, (channel,), 0.001), steady_s)
    return model
