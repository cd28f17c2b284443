"""Every conversion, both ways: what comes back is what went in."""

import math

import pytest

from industriverse_core import artefacts as a
from industriverse_core import permit as p
from industriverse_core import telemetry as t
from industriverse_core.program import Heater
from industriverse_ros import convert

DIGEST = bytes(range(32))
SPREAD = a.Estimate(2.0, 1.5, 3.0)


def estimate(value):
    return a.Estimate(value, value * 0.9, value * 1.2)


PREDICTION = a.Prediction(
    program_digest=DIGEST,
    machine_id="m",
    material="PLA",
    time_s=estimate(100.0),
    motion_time_s=estimate(50.0),
    energy_j=estimate(1e5),
    energy_by_subsystem_j={a.Subsystem.BED: estimate(6e4), a.Subsystem.HOTEND: estimate(4e4)},
    peak_power_w=estimate(300.0),
    heat_j=estimate(9e4),
    filament_m=estimate(0.5),
    material_kg=estimate(0.0015),
)
FORECAST = a.ForecastCase("slower_20", estimate(60.0), estimate(4e4), 83.5, ("line 7: too cold.",))
QUOTE = a.Quote(DIGEST, "EUR", 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, estimate(2.1), 0.05, 1e6, 9e5, 0.003)
LEDGER = a.LedgerEntry(
    "J1", "m", DIGEST, 101.0, 1e5, 2e3, 9e4, 7e3, {a.Subsystem.BED: 6e4}, 0.0015, 2.2, "EUR", PREDICTION
)
FINDING = a.Finding("envelope.axis", a.Severity.ERROR, "X is 400 mm.", "Move it.", 12, 3, 400.0, 255.0, "mm")
SAMPLE = t.TelemetrySample(
    1234.5, "m", 17, 2**63 - 1, t.MachineState.EXECUTING, 3, "text", "J1", DIGEST, 42, 0.25, (0.1, 0.2, 0.3),
    (0.1, 0.2, 0.31), (t.HeaterReading(Heater.BED, 60.5, 60.0, 0.4),), 0.5, 123.0, 4567.0, 99, 0.05, 7, 0.12, 2, True,
)  # fmt: skip
RESIDUAL = t.ResidualSample(
    5.25, "m", 9, "J1", DIGEST, 4, (t.ResidualChannel(t.Quantity.POWER, 100.0, 110.0, 8.0),), 0.002
)
POWER = t.PowerSample(5.5, "m", 5.75, 12.0, -6.5, 23.9, 4.0, 95.5, 1234.0)
VIBRATION = t.VibrationSample(
    6.5, "m", 7.5, t.VibrationAxis.Z, 256, 1600.0, 0.5, 3.1, 118.0, tuple(i / 32 for i in range(t.BANDS)), 13.0, -6.5
)

ROUND_TRIPS = [
    (a.ProgramRef(DIGEST, "file:///x#sha256=00", "n", "PLA", 3, 5), convert.ref_to_msg, convert.ref_from_msg),
    (SPREAD, convert.estimate_to_msg, convert.estimate_from_msg),
    (FINDING, convert.finding_to_msg, convert.finding_from_msg),
    (
        a.GateReport(DIGEST, "m", a.Verdict.REFUSE, (FINDING,), 1, 0, 0.01),
        lambda report: convert.report_to_msg(report, 1.0),
        convert.report_from_msg,
    ),
    (PREDICTION, convert.prediction_to_msg, convert.prediction_from_msg),
    (FORECAST, convert.forecast_case_to_msg, convert.forecast_case_from_msg),
    (QUOTE, convert.quote_to_msg, convert.quote_from_msg),
    (LEDGER, lambda entry: convert.ledger_to_msg(entry, 1.0), convert.ledger_from_msg),
    (SAMPLE, convert.telemetry_to_msg, convert.telemetry_from_msg),
    (t.Trace(1.5, "m", "J1", DIGEST, 3, 2, 1, 9), convert.trace_to_msg, convert.trace_from_msg),
    (RESIDUAL, convert.residual_to_msg, convert.residual_from_msg),
    (POWER, convert.power_to_msg, convert.power_from_msg),
    (VIBRATION, convert.vibration_to_msg, convert.vibration_from_msg),
]


@pytest.mark.parametrize(("value", "to_msg", "from_msg"), ROUND_TRIPS, ids=lambda item: type(item).__name__)
def test_round_trip(value, to_msg, from_msg):
    assert from_msg(to_msg(value)) == value


def test_a_signed_permit_survives_the_message():
    permit = p.sign(p.Permit("m", 2**63, 5, 2**63 - 1, DIGEST, 8, p.PermitLevel.REDUCED, 0.5), b"k" * 32)
    back = convert.permit_from_msg(convert.permit_to_msg(permit, 12.0))
    assert back == permit
    assert p.is_authentic(back, b"k" * 32)


def test_values_that_do_not_exist_are_value_errors():
    msg = convert.permit_to_msg(p.Permit("m", 1, 1, 1, DIGEST), 0.0)
    msg.level = 9
    with pytest.raises(ValueError):
        convert.permit_from_msg(msg)
    msg = convert.telemetry_to_msg(SAMPLE)
    msg.state = 200
    with pytest.raises(ValueError):
        convert.telemetry_from_msg(msg)
    msg = convert.vibration_to_msg(VIBRATION)
    msg.axis = 0
    with pytest.raises(ValueError):
        convert.vibration_from_msg(msg)


def test_nan_means_unmeasured_on_both_sides():
    sample = t.TelemetrySample(0.0, "m", 1, 1, t.MachineState.IDLE)
    back = convert.telemetry_from_msg(convert.telemetry_to_msg(sample))
    assert math.isnan(back.power_w)
    assert all(math.isnan(value) for value in back.position_m)


def test_time_keeps_nanoseconds():
    assert convert.time_from_msg(convert.time_to_msg(1_700_000_000.125)) == 1_700_000_000.125
