"""What a report says, as data: the page, the PDF and the JSON object all show this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from industriverse_core.artefacts import Finding
from industriverse_core.moves import Layers
from industriverse_core.toolpath import ToolPath

SCHEMA, SCHEMA_VERSION = "industriverse-report", 1


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its 90 % interval; `low` = `high` where it has none. `unit` as names of fields end: s, j, w, ..."""

    key: str
    title: str
    unit: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Amount:
    """A number without an interval."""

    key: str
    title: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Power:
    """Mean power by subsystem in k bins of time; vertex = first vertex of the tool path that is reached in each bin."""

    edges_s: np.ndarray
    power_w: Mapping[str, np.ndarray]
    vertex: np.ndarray

    @property
    def total_w(self) -> np.ndarray:
        """All subsystems together, shape (k,)."""
        return sum(self.power_w.values(), np.zeros(len(self.edges_s) - 1))


@dataclass(frozen=True, slots=True, eq=False)
class LayerEnergy:
    """Where the joules go: by layer, before the first and after the last. Together the job's energy."""

    z_m: np.ndarray
    energy_j: np.ndarray
    volume_m3: np.ndarray
    time_s: np.ndarray
    before_j: float
    after_j: float


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one good part: parts that add up to the total, and what else the quote states."""

    currency: str
    total: Quantity
    parts: tuple[Amount, ...]
    facts: Mapping[str, tuple[Amount, ...]]  # by group; "" = of the price itself
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the oracle and the price say; absent where nothing can be predicted."""

    quantities: tuple[Quantity, ...]
    subsystems: tuple[Quantity, ...]  # largest first
    balance: tuple[Amount, ...]  # where the electricity ends; adds up to it
    power: Power
    temperatures_s: np.ndarray
    temperatures_c: Mapping[str, np.ndarray]
    layers: LayerEnergy
    price: Price | None

    def quantity(self, key: str) -> Quantity | None:
        """The quantity of this key; None where the prediction has none."""
        return next((each for each in self.quantities if each.key == key), None)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One program on one machine."""

    name: str
    machine: str
    machine_title: str
    kind: str  # 'printer' or 'mill'
    material: str
    verdict: str  # 'accept', 'warn', 'refuse'
    errors: int
    warnings: int
    findings: tuple[Finding, ...]
    finding_vertices: tuple[int, ...]  # of the tool path; -1 = none
    outcome: Outcome | None
    unpredicted: str  # why there is no outcome
    path: ToolPath
    layers: Layers
    features: tuple[str, ...]
    bed_m: tuple[float, float, float, float]  # x low, x high, y low, y high
    width_m: float  # of a bead or a cut, as drawn
    assumptions: tuple[str, ...]
    sources: Mapping[str, Mapping[str, str]]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def as_json(report: Report) -> dict[str, Any]:
    """The report as one JSON object (README of this package lists its keys). Arrays are lists."""
    path, outcome = report.path, report.outcome
    answer: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "name": report.name,
        "machine": report.machine,
        "machine_title": report.machine_title,
        "kind": report.kind,
        "material": report.material,
        "verdict": report.verdict,
        "errors": report.errors,
        "warnings": report.warnings,
        "findings": [finding_json(each) for each in report.findings],
        "unpredicted": report.unpredicted or None,
        "prediction": None if outcome is None else _outcome_json(outcome),
        "toolpath": {
            "vertices": len(path.points_m),
            "moves": path.moves,
            "moves_left_out": path.left_out,
            "tolerance_m": path.tolerance_m,
            "straight_travel": path.straight_travel,
            "joined": path.joined,
            "features": list(report.features),
            "energy_scale": _record(path.energy_scale),
            "speed_scale": _record(path.speed_scale),
        },
        "assumptions": list(report.assumptions),
        "sources": {name: dict(texts) for name, texts in report.sources.items()},
        "provenance": dict(report.provenance),
    }
    return answer


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    return {**_record(finding), "severity": finding.severity.name.lower()}


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    layers, price = outcome.layers, outcome.price
    return {
        "quantities": [_record(each) for each in outcome.quantities],
        "energy_by_subsystem": [_record(each) for each in outcome.subsystems],
        "energy_balance": [_record(each) for each in outcome.balance],
        "power": {
            "edges_s": outcome.power.edges_s.tolist(),
            "power_w": {name: column.tolist() for name, column in outcome.power.power_w.items()},
        },
        "temperatures": {
            "time_s": outcome.temperatures_s.tolist(),
            "celsius": {name: column.tolist() for name, column in outcome.temperatures_c.items()},
        },
        "layers": {
            **{name: getattr(layers, name).tolist() for name in ("z_m", "energy_j", "volume_m3", "time_s")},
            "before_j": layers.before_j,
            "after_j": layers.after_j,
        },
        "price": None
        if price is None
        else {
            "currency": price.currency,
            "total": _record(price.total),
            "parts": [_record(each) for each in price.parts],
            "facts": {group: [_record(each) for each in facts] for group, facts in price.facts.items()},
            "notes": list(price.notes),
        },
    }


def _record(value: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass."""
    return {name: getattr(value, name) for name in value.__slots__}
