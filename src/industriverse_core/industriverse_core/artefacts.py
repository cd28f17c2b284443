"""One frozen dataclass for each stage of the loop, each addressed by the digest of its content.

Intent → program (program.py) → gate report → prediction → quote → trace → ledger. Messages carry the digest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from industriverse_core.digest import NO_DIGEST, Digest, digest_of


class Severity(IntEnum):
    """How bad a finding is; ERROR refuses. Values as in Finding.msg."""

    INFO = 1
    WARNING = 2
    ERROR = 3


class Verdict(IntEnum):
    """Outcome of the gates. Values as in GateReport.msg."""

    ACCEPT = 1
    WARN = 2
    REFUSE = 3


class Subsystem(IntEnum):
    """Consumers of electricity in a machine. Values as in SubsystemEnergy.msg."""

    ELECTRONICS = 1
    MOTION = 2
    HOTEND = 3
    BED = 4
    FAN = 5
    SPINDLE = 6
    COOLANT = 7
    ENCLOSURE = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule has to say about a program."""

    rule: str
    severity: Severity
    message: str
    remedy: str
    line: int = 0  # source line, 1-based; 0 = the whole program
    instruction: int = -1
    value: float = math.nan  # in `unit`, as people read it
    limit: float = math.nan
    unit: str = ""


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gates' verdict on one program for one machine."""

    program_digest: Digest
    machine_id: str
    verdict: Verdict
    findings: tuple[Finding, ...]  # worst first, then by line; capped
    error_count: int
    warning_count: int
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted quantity with its 90 % interval (5 % and 95 % quantiles), in the field's unit."""

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.mean <= self.high:
            raise ValueError(f"estimate out of order: {self.low} <= {self.mean} <= {self.high}")

    @staticmethod
    def exact(value: float) -> Estimate:
        """A value without uncertainty (or a measured one)."""
        return Estimate(value, value, value)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one run of a program is expected to take and give. Units in the names."""

    program_digest: Digest
    machine_id: str
    material: str
    time_s: Estimate
    motion_time_s: Estimate
    energy_j: Estimate
    energy_by_subsystem_j: Mapping[Subsystem, Estimate]
    peak_power_w: Estimate
    heat_j: Estimate
    filament_m: Estimate
    material_kg: Estimate

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical form."""
        return digest_of(self)


@dataclass(frozen=True, slots=True)
class ForecastCase:
    """How the rest of a running job goes, as it is or with one thing changed. Fields as in ForecastCase.msg.

    Never to end has infinite time and energy.
    """

    name: str
    time_s: Estimate  # until the end
    energy_j: Estimate
    peak_power_w: float
    violations: tuple[str, ...] = ()  # limits that would be violated, each a sentence


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one good part, in `currency`, and its exergy account."""

    prediction_digest: Digest
    currency: str
    material: float
    energy: float
    machine_time: float
    labour: float
    carbon: float
    risk: float
    total: Estimate
    carbon_kg: float
    exergy_in_j: float
    exergy_destroyed_j: float
    task_efficiency: float

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical form."""
        return digest_of(self)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Where the joules of one execution went: electric = work + heat + stored + residual."""

    job_id: str
    machine_id: str
    program_digest: Digest
    time_s: float
    electric_j: float
    work_j: float
    heat_j: float
    stored_j: float
    energy_by_subsystem_j: Mapping[Subsystem, float]
    material_kg: float
    price: float
    currency: str
    prediction: Prediction | None = None

    @property
    def residual_j(self) -> float:
        """Electric energy that the account does not explain [J]; negative = explained more than was bought."""
        return self.electric_j - self.work_j - self.heat_j - self.stored_j

    @property
    def residual_fraction(self) -> float:
        """Residual over electric energy; NaN when no electricity was measured."""
        return self.residual_j / self.electric_j if self.electric_j > 0 else math.nan

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical form."""
        return digest_of(self)


@dataclass(frozen=True, slots=True)
class ProgramRef:
    """Address of a program in the cell's program store."""

    digest: Digest = NO_DIGEST
    uri: str = ""
    name: str = ""
    material: str = ""
    instruction_count: int = 0
    source_line_count: int = 0
