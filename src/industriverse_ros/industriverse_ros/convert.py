"""Conversions between messages and the core's dataclasses; nothing else. Tested both ways."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point

import industriverse_msgs.msg as im
from industriverse_core import artefacts as a
from industriverse_core import permit as p
from industriverse_core import telemetry as t
from industriverse_core.digest import Digest
from industriverse_core.program import Heater


def digest_to_msg(digest: Digest) -> list[int]:
    """32 bytes as a uint8[32] field wants them."""
    return list(digest)


def digest_from_msg(field: Any) -> Digest:
    """A uint8[32] field as bytes."""
    return bytes(bytearray(field))


def time_to_msg(stamp_s: float) -> Time:
    """ROS time [s] as a message."""
    nanoseconds = round(stamp_s * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def time_from_msg(stamp: Time) -> float:
    """A message's ROS time [s]."""
    return stamp.sec + stamp.nanosec * 1e-9


def vector_to_msg(vector: t.Vector) -> Point:
    """(x, y, z) as a Point."""
    return Point(x=vector[0], y=vector[1], z=vector[2])


def vector_from_msg(point: Point) -> t.Vector:
    """A Point as (x, y, z)."""
    return (point.x, point.y, point.z)


def ref_to_msg(ref: a.ProgramRef) -> im.ProgramRef:
    """ProgramRef."""
    return im.ProgramRef(
        digest=digest_to_msg(ref.digest),
        uri=ref.uri,
        name=ref.name,
        material=ref.material,
        instruction_count=ref.instruction_count,
        source_line_count=ref.source_line_count,
    )


def ref_from_msg(msg: im.ProgramRef) -> a.ProgramRef:
    """ProgramRef."""
    return a.ProgramRef(
        digest_from_msg(msg.digest), msg.uri, msg.name, msg.material, msg.instruction_count, msg.source_line_count
    )


def estimate_to_msg(estimate: a.Estimate) -> im.Estimate:
    """Estimate."""
    return im.Estimate(mean=estimate.mean, low=estimate.low, high=estimate.high)


def estimate_from_msg(msg: im.Estimate) -> a.Estimate:
    """Estimate."""
    return a.Estimate(msg.mean, msg.low, msg.high)


def finding_to_msg(finding: a.Finding) -> im.Finding:
    """Finding."""
    return im.Finding(
        rule=finding.rule,
        severity=int(finding.severity),
        source_line=finding.line,
        instruction=finding.instruction,
        value=finding.value,
        limit=finding.limit,
        unit=finding.unit,
        message=finding.message,
        remedy=finding.remedy,
    )


def finding_from_msg(msg: im.Finding) -> a.Finding:
    """Finding."""
    return a.Finding(
        msg.rule,
        a.Severity(msg.severity),
        msg.message,
        msg.remedy,
        msg.source_line,
        msg.instruction,
        msg.value,
        msg.limit,
        msg.unit,
    )


def report_to_msg(report: a.GateReport, stamp_s: float) -> im.GateReport:
    """GateReport."""
    return im.GateReport(
        stamp=time_to_msg(stamp_s),
        program_digest=digest_to_msg(report.program_digest),
        machine_id=report.machine_id,
        verdict=int(report.verdict),
        error_count=report.error_count,
        warning_count=report.warning_count,
        findings=[finding_to_msg(finding) for finding in report.findings],
        duration_s=report.duration_s,
    )


def report_from_msg(msg: im.GateReport) -> a.GateReport:
    """GateReport."""
    return a.GateReport(
        digest_from_msg(msg.program_digest),
        msg.machine_id,
        a.Verdict(msg.verdict),
        tuple(finding_from_msg(finding) for finding in msg.findings),
        msg.error_count,
        msg.warning_count,
        msg.duration_s,
    )


def forecast_case_to_msg(case: a.ForecastCase) -> im.ForecastCase:
    """ForecastCase; violations are cut to what the message holds."""
    return im.ForecastCase(
        name=case.name,
        time=estimate_to_msg(case.time_s),
        energy=estimate_to_msg(case.energy_j),
        peak_power_w=case.peak_power_w,
        violations=[text[:256] for text in case.violations[:8]],
    )


def forecast_case_from_msg(msg: im.ForecastCase) -> a.ForecastCase:
    """ForecastCase."""
    time_s, energy_j = estimate_from_msg(msg.time), estimate_from_msg(msg.energy)
    return a.ForecastCase(msg.name, time_s, energy_j, msg.peak_power_w, tuple(msg.violations))


def _subsystems_to_msg(energies: dict[a.Subsystem, a.Estimate]) -> list[im.SubsystemEnergy]:
    return [
        im.SubsystemEnergy(subsystem=int(subsystem), energy_j=estimate_to_msg(energy))
        for subsystem, energy in sorted(energies.items())
    ]


def prediction_to_msg(prediction: a.Prediction) -> im.Prediction:
    """Prediction."""
    return im.Prediction(
        digest=digest_to_msg(prediction.digest),
        program_digest=digest_to_msg(prediction.program_digest),
        machine_id=prediction.machine_id,
        material=prediction.material,
        time_s=estimate_to_msg(prediction.time_s),
        motion_time_s=estimate_to_msg(prediction.motion_time_s),
        energy_j=estimate_to_msg(prediction.energy_j),
        energy_by_subsystem=_subsystems_to_msg(dict(prediction.energy_by_subsystem_j)),
        peak_power_w=estimate_to_msg(prediction.peak_power_w),
        heat_j=estimate_to_msg(prediction.heat_j),
        filament_m=estimate_to_msg(prediction.filament_m),
        material_kg=estimate_to_msg(prediction.material_kg),
    )


def prediction_from_msg(msg: im.Prediction) -> a.Prediction:
    """Prediction."""
    return a.Prediction(
        program_digest=digest_from_msg(msg.program_digest),
        machine_id=msg.machine_id,
        material=msg.material,
        time_s=estimate_from_msg(msg.time_s),
        motion_time_s=estimate_from_msg(msg.motion_time_s),
        energy_j=estimate_from_msg(msg.energy_j),
        energy_by_subsystem_j={
            a.Subsystem(item.subsystem): estimate_from_msg(item.energy_j) for item in msg.energy_by_subsystem
        },
        peak_power_w=estimate_from_msg(msg.peak_power_w),
        heat_j=estimate_from_msg(msg.heat_j),
        filament_m=estimate_from_msg(msg.filament_m),
        material_kg=estimate_from_msg(msg.material_kg),
    )


_QUOTE_NUMBERS = (
    "material", "energy", "machine_time", "labour", "carbon", "risk",
    "carbon_kg", "exergy_in_j", "exergy_destroyed_j", "task_efficiency",
)  # fmt: skip


def quote_to_msg(quote: a.Quote) -> im.Quote:
    """Quote."""
    return im.Quote(
        digest=digest_to_msg(quote.digest),
        prediction_digest=digest_to_msg(quote.prediction_digest),
        currency=quote.currency,
        total=estimate_to_msg(quote.total),
        **{name: getattr(quote, name) for name in _QUOTE_NUMBERS},
    )


def quote_from_msg(msg: im.Quote) -> a.Quote:
    """Quote."""
    return a.Quote(
        prediction_digest=digest_from_msg(msg.prediction_digest),
        currency=msg.currency,
        total=estimate_from_msg(msg.total),
        **{name: getattr(msg, name) for name in _QUOTE_NUMBERS},
    )


def ledger_to_msg(entry: a.LedgerEntry, stamp_s: float) -> im.LedgerEntry:
    """LedgerEntry."""
    energies = {key: a.Estimate.exact(value) for key, value in entry.energy_by_subsystem_j.items()}
    msg = im.LedgerEntry(
        stamp=time_to_msg(stamp_s),
        job_id=entry.job_id,
        machine_id=entry.machine_id,
        program_digest=digest_to_msg(entry.program_digest),
        digest=digest_to_msg(entry.digest),
        time_s=entry.time_s,
        electric_j=entry.electric_j,
        work_j=entry.work_j,
        heat_j=entry.heat_j,
        stored_j=entry.stored_j,
        residual_j=entry.residual_j,
        residual_fraction=entry.residual_fraction,
        energy_by_subsystem=_subsystems_to_msg(energies),
        material_kg=entry.material_kg,
        price=entry.price,
        currency=entry.currency,
    )
    if entry.prediction is not None:
        msg.prediction = prediction_to_msg(entry.prediction)
    return msg


def ledger_from_msg(msg: im.LedgerEntry) -> a.LedgerEntry:
    """LedgerEntry."""
    return a.LedgerEntry(
        job_id=msg.job_id,
        machine_id=msg.machine_id,
        program_digest=digest_from_msg(msg.program_digest),
        time_s=msg.time_s,
        electric_j=msg.electric_j,
        work_j=msg.work_j,
        heat_j=msg.heat_j,
        stored_j=msg.stored_j,
        energy_by_subsystem_j={a.Subsystem(item.subsystem): item.energy_j.mean for item in msg.energy_by_subsystem},
        material_kg=msg.material_kg,
        price=msg.price,
        currency=msg.currency,
        prediction=prediction_from_msg(msg.prediction) if any(msg.prediction.program_digest) else None,
    )


def permit_to_msg(permit: p.Permit, stamp_s: float) -> im.MotionPermit:
    """MotionPermit."""
    return im.MotionPermit(
        stamp=time_to_msg(stamp_s),
        machine_id=permit.machine_id,
        incarnation=permit.incarnation,
        sequence=permit.sequence,
        challenge=permit.challenge,
        cleared_latch=permit.cleared_latch,
        program_digest=digest_to_msg(permit.program_digest),
        level=int(permit.level),
        speed_scale=permit.speed_scale,
        valid_for_ms=permit.valid_for_ms,
        mac=list(permit.mac),
    )


def permit_from_msg(msg: im.MotionPermit) -> p.Permit:
    """MotionPermit. Raises ValueError for a level that does not exist."""
    return p.Permit(
        machine_id=msg.machine_id,
        incarnation=msg.incarnation,
        sequence=msg.sequence,
        challenge=msg.challenge,
        program_digest=digest_from_msg(msg.program_digest),
        cleared_latch=msg.cleared_latch,
        level=p.PermitLevel(msg.level),
        speed_scale=msg.speed_scale,
        valid_for_ms=msg.valid_for_ms,
        mac=bytes(bytearray(msg.mac)),
    )


_SAMPLE_PLAIN = (
    "machine_id", "incarnation", "challenge", "error_code", "error_msg", "job_id", "instruction", "progress", "fan",
    "power_w", "energy_j", "permit_sequence", "permit_age_s", "latch_id", "queued_s", "missed_deadlines", "realtime",
)  # fmt: skip


def telemetry_to_msg(sample: t.TelemetrySample) -> im.MachineTelemetry:
    """MachineTelemetry."""
    msg = im.MachineTelemetry(**{name: getattr(sample, name) for name in _SAMPLE_PLAIN})
    msg.header.stamp = time_to_msg(sample.stamp_s)
    msg.header.frame_id = f"{sample.machine_id}_base"
    msg.state = int(sample.state)
    msg.program_digest = digest_to_msg(sample.program_digest)
    msg.position = vector_to_msg(sample.position_m)
    msg.reported_position = vector_to_msg(sample.reported_position_m)
    msg.heaters = [
        im.HeaterReading(
            heater=int(item.heater), temperature_c=item.temperature_c, target_c=item.target_c, duty=item.duty
        )
        for item in sample.heaters
    ]
    return msg


def telemetry_from_msg(msg: im.MachineTelemetry) -> t.TelemetrySample:
    """MachineTelemetry. Raises ValueError for a state or heater that does not exist."""
    return t.TelemetrySample(
        stamp_s=time_from_msg(msg.header.stamp),
        state=t.MachineState(msg.state),
        program_digest=digest_from_msg(msg.program_digest),
        position_m=vector_from_msg(msg.position),
        reported_position_m=vector_from_msg(msg.reported_position),
        heaters=tuple(
            t.HeaterReading(Heater(item.heater), item.temperature_c, item.target_c, item.duty) for item in msg.heaters
        ),
        **{name: getattr(msg, name) for name in _SAMPLE_PLAIN},
    )


def trace_to_msg(trace: t.Trace) -> im.ExecutionTrace:
    """ExecutionTrace."""
    msg = im.ExecutionTrace(
        machine_id=trace.machine_id,
        job_id=trace.job_id,
        program_digest=digest_to_msg(trace.program_digest),
        sent=trace.sent,
        acknowledged=trace.acknowledged,
        executed=trace.executed,
        total=trace.total,
    )
    msg.header.stamp = time_to_msg(trace.stamp_s)
    return msg


def trace_from_msg(msg: im.ExecutionTrace) -> t.Trace:
    """ExecutionTrace."""
    return t.Trace(
        time_from_msg(msg.header.stamp),
        msg.machine_id,
        msg.job_id,
        digest_from_msg(msg.program_digest),
        msg.sent,
        msg.acknowledged,
        msg.executed,
        msg.total,
    )


def residual_to_msg(sample: t.ResidualSample) -> im.Residual:
    """Residual."""
    msg = im.Residual(
        machine_id=sample.machine_id,
        incarnation=sample.incarnation,
        job_id=sample.job_id,
        program_digest=digest_to_msg(sample.program_digest),
        instruction=sample.instruction,
        lag_s=sample.lag_s,
    )
    msg.header.stamp = time_to_msg(sample.stamp_s)
    msg.channels = [
        im.ResidualChannel(
            quantity=int(item.quantity), expected=item.expected, measured=item.measured, sigma=item.sigma
        )
        for item in sample.channels
    ]
    return msg


def residual_from_msg(msg: im.Residual) -> t.ResidualSample:
    """Residual."""
    return t.ResidualSample(
        stamp_s=time_from_msg(msg.header.stamp),
        machine_id=msg.machine_id,
        incarnation=msg.incarnation,
        job_id=msg.job_id,
        program_digest=digest_from_msg(msg.program_digest),
        instruction=msg.instruction,
        channels=tuple(
            t.ResidualChannel(t.Quantity(item.quantity), item.expected, item.measured, item.sigma)
            for item in msg.channels
        ),
        lag_s=msg.lag_s,
    )


_POWER_PLAIN = ("machine_id", "source_s", "clock_offset_s", "voltage_v", "current_a", "power_w", "energy_j")


def power_to_msg(sample: t.PowerSample) -> im.PowerReading:
    """PowerReading."""
    msg = im.PowerReading(**{name: getattr(sample, name) for name in _POWER_PLAIN})
    msg.header.stamp = time_to_msg(sample.stamp_s)
    msg.received = time_to_msg(sample.received_s)
    return msg


def power_from_msg(msg: im.PowerReading) -> t.PowerSample:
    """PowerReading."""
    return t.PowerSample(
        stamp_s=time_from_msg(msg.header.stamp),
        received_s=time_from_msg(msg.received),
        **{name: getattr(msg, name) for name in _POWER_PLAIN},
    )


_VIBRATION_PLAIN = (
    "machine_id", "source_s", "clock_offset_s", "samples", "sample_rate_hz", "rms_m_s2", "kurtosis",
    "dominant_frequency_hz",
)  # fmt: skip


def vibration_to_msg(sample: t.VibrationSample) -> im.VibrationFeatures:
    """VibrationFeatures."""
    msg = im.VibrationFeatures(**{name: getattr(sample, name) for name in _VIBRATION_PLAIN})
    msg.header.stamp = time_to_msg(sample.stamp_s)
    msg.received = time_to_msg(sample.received_s)
    msg.axis = int(sample.axis)
    msg.band_energy = list(sample.band_energy)
    return msg


def vibration_from_msg(msg: im.VibrationFeatures) -> t.VibrationSample:
    """VibrationFeatures. Raises ValueError for an axis that does not exist."""
    return t.VibrationSample(
        stamp_s=time_from_msg(msg.header.stamp),
        received_s=time_from_msg(msg.received),
        axis=t.VibrationAxis(msg.axis),
        band_energy=tuple(float(value) for value in msg.band_energy),
        **{name: getattr(msg, name) for name in _VIBRATION_PLAIN},
    )
