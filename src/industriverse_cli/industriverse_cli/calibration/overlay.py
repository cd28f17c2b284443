"""The overlay of a profile: the fields that a calibration has found, and where they come from, as YAML."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime
from typing import Any

import yaml

from industriverse_cli.calibration.sources import Source
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.machine import EXTENDS, MachineProfile
from twin_node.identification.identify import QUANTILE_90, Estimate, Identification
from twin_node.identification.recording import Recording

DIGITS = 5
UNITLESS = "W/(m/s)"  # a field of the profile that is written without its unit
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def overlay_text(machine: str, profile: MachineProfile, found: Identification, source: Source, date: str) -> str:
    """The overlay.

    Args:
        machine: the name or path that it extends.
        date: YYYY-MM-DD; "" = when the recording began.
    Raises InputError (USAGE) for a date that is none.
    """
    fields: dict[str, Any] = {EXTENDS: machine}
    identified = [each for each in found.estimates if each.identified and each.field]
    for each in identified:
        section, _, name = each.name.partition(".")
        fields.setdefault(section, {})[name] = _quantity(each)
    for section in ("hotend", "bed", "power"):
        wanted = [each for each in found.estimates if each.field and each.name.startswith(f"{section}.")]
        if wanted and all(each.identified for each in wanted):
            fields[section]["uncertainty"] = _uncertainty(wanted)
    fields["calibration"] = {
        "date": _date(date, source.recording),
        "source": f"sha256:{recording_digest(source.recording)}",
        "recording": f"{source.name}, job {source.job_id}"[:256],
        "program": source.program.digest.hex(),
        "meter_accuracy": found.meter_accuracy,
        "intervals": {
            each.name: [_rounded(each.low, math.floor), _rounded(each.high, math.ceil)] for each in identified
        },
    }
    head = f"# {profile.title}, calibrated: docs/calibration.md. What does not stand here is as in {machine}.\n"
    return head + yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _quantity(each: Estimate) -> str | float:
    number = float(f"{each.value:.{DIGITS}g}")
    return number if each.unit == UNITLESS else f"{number:.{DIGITS}g} {each.unit}"


def _rounded(value: float, towards: Any) -> float:
    """To DIGITS digits, outwards."""
    step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1) if value else 1.0
    return float(f"{towards(value / step) * step:.{DIGITS + 1}g}")


def _uncertainty(estimates: list[Estimate]) -> float:
    """Largest relative standard deviation of a section, in whole percent, rounded up."""
    largest = max((each.high - each.low) / (2.0 * QUANTILE_90 * each.value) for each in estimates)
    return math.ceil(100.0 * largest) / 100.0


def _date(date: str, recording: Recording) -> str:
    if not date:
        return datetime.fromtimestamp(float(recording.time_s[0]), UTC).date().isoformat()
    try:
        if not _DATE.fullmatch(date):
            raise ValueError(date)
        datetime.strptime(date, "%Y-%m-%d")
    except ValueError as error:
        raise InputError(ErrorCode.USAGE, f"--date: '{date[:32]}' is no date.", "Write it as 2026-11-20.") from error
    return date


def recording_digest(recording: Recording) -> str:
    """SHA-256 over the samples that were used, as hexadecimal text."""
    digest = hashlib.sha256(recording.machine_id.encode())
    heaters = [heater for heater in (recording.hotend, recording.bed) if heater is not None]
    series = [recording.time_s, recording.fan, recording.position_m, recording.power_time_s, recording.power_w]
    series += [each for heater in heaters for each in (heater.temperature_c, heater.target_c, heater.duty)]
    for each in series:
        digest.update(each.astype("<f8").tobytes())
    return digest.hexdigest()
