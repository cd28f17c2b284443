"""Gathers what a report says: gates, timeline, prediction and price of one case, reduced to what is shown.

The parts of prediction, timeline and quote are found by their kind and the unit in their names, not one by one: what
the oracle or the price adds appears in the report by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from industriverse_cli.report.accounts import price_of, spoken, unit_of
from industriverse_cli.report.model import Amount, LayerEnergy, Outcome, Power, Quantity, Report
from industriverse_cli.report.packing import BUDGET
from industriverse_core.artefacts import Estimate, GateReport
from industriverse_core.errors import PredictionError
from industriverse_core.moves import Layers, Moves, classify, layers_of, per_layer
from industriverse_core.toolpath import ToolPath, reduce_path
from industriverse_core.units import MM

if TYPE_CHECKING:
    from industriverse_cli.options import Case
    from twin_node.price_parts import Order
    from twin_node.tariff import Tariff
    from twin_node.timeline import Course, Timeline

POWER_BINS = 600
TITLES = {
    "time_s": "time, with heating and homing",
    "motion_time_s": "moves and dwells alone",
    "energy_j": "electric energy",
    "heat_j": "heat to the room",
    "hotend": "hot end",
}
FILAMENT_FIELDS = ("filament_m", "material_kg")
MILL_LINE_M = 0.4 * MM  # how wide a mill's path is drawn
BEAD_OVER_NOZZLE = 1.12  # slicers' usual width of a bead


def collect(
    case: Case, gates: GateReport, tariff: Tariff, order: Order, source: bytes, provenance: Mapping[str, Any]
) -> Report:
    """Everything that the page shows.

    `source` is the file's text, for the slicer's feature comments; empty where there is none. A program that the gates
    refuse is reported like any other; one that cannot be predicted has no outcome, and says why.
    """
    program, profile = case.program, case.profile
    moves = classify(program, profile.kind == "mill", source)
    layers = layers_of(program, moves, downwards=profile.kind == "mill")
    timeline, unpredicted = _timeline(case)
    energy = None if timeline is None else _electric(timeline)
    duration = None if timeline is None else timeline.plan.duration_s
    path = reduce_path(program, moves, layers, energy, duration, BUDGET)
    axes = profile.kinematics
    return Report(
        name=program.metadata.name or "program",
        machine=profile.id,
        machine_title=profile.title,
        kind=profile.kind,
        material=case.material.id,
        verdict=gates.verdict.name.lower(),
        errors=gates.error_count,
        warnings=gates.warning_count,
        findings=gates.findings,
        finding_vertices=tuple(_vertex(path, np.array([each.instruction for each in gates.findings])).tolist()),
        outcome=None if timeline is None else _outcome(case, timeline, (tariff, order), moves, layers, path),
        unpredicted=unpredicted,
        path=path,
        layers=layers,
        features=moves.names,
        bed_m=(axes.x.minimum, axes.x.maximum, axes.y.minimum, axes.y.maximum),
        width_m=profile.extruder.nozzle_diameter * BEAD_OVER_NOZZLE if profile.extruder else MILL_LINE_M,
        assumptions=_assumptions(case),
        sources={
            f"machine {profile.id}": profile.sources,
            f"material {case.material.id}": case.material.sources,
            f"prices {tariff.id}": tariff.sources,
        },
        provenance=provenance,
    )


def _timeline(case: Case) -> tuple[Timeline | None, str]:
    from twin_node.timeline import build_timeline

    try:
        return build_timeline(case.program, case.profile, case.material), ""
    except PredictionError as error:
        return None, str(error)


def _electric(timeline: Timeline) -> np.ndarray:
    """Electric energy of each instruction [J]."""
    return sum(timeline.energy_j.values(), np.zeros(len(timeline.program)))


def _vertex(path: ToolPath, instruction: np.ndarray) -> np.ndarray:
    """The vertex of the path at which each instruction is done; -1 where there is no path or no instruction."""
    if not len(path.owner) or not len(instruction):
        return np.full(len(instruction), -1)
    found = np.minimum(np.searchsorted(path.owner, instruction), len(path.owner) - 1)
    return np.where(instruction >= 0, found, -1)


def _outcome(
    case: Case, timeline: Timeline, terms: tuple[Tariff, Order], moves: Moves, layers: Layers, path: ToolPath
) -> Outcome:  # fmt: skip
    from twin_node.oracle import prediction_of
    from twin_node.price import price_part
    from twin_node.run_details import details_of

    prediction = prediction_of(timeline, case.profile, case.material)
    details = details_of(timeline, case.profile, case.material)
    account = price_part(prediction, case.profile, case.material, terms[0], details, terms[1])
    feeds = prediction.material_kg.mean > 0.0
    quantities = tuple(
        each
        for each in _quantities(prediction)
        if (feeds or each.key not in FILAMENT_FIELDS) and not each.low == each.mean == each.high == 0.0
    )
    subsystems = [
        _quantity(part.name.lower(), "j", energy)
        for part, energy in prediction.energy_by_subsystem_j.items()
        if energy.high > 0.0
    ]
    power = _power(timeline, path)
    ends_s = np.cumsum(timeline.course.duration_s)
    temperatures = {
        name: np.interp(power.edges_s, ends_s, column)
        for name, column in _temperatures(timeline.course, case.profile.ambient).items()
    }
    return Outcome(
        quantities=quantities,
        subsystems=tuple(sorted(subsystems, key=lambda each: -each.mean)),
        balance=_balance(timeline),
        power=power,
        temperatures_s=power.edges_s,
        temperatures_c=temperatures,
        layers=_layer_energy(timeline, moves, layers),
        price=price_of(account),
    )


def _quantity(key: str, unit: str, estimate: Estimate) -> Quantity:
    return Quantity(key, spoken(key, TITLES), unit, estimate.mean, estimate.low, estimate.high)


def _quantities(prediction: Any) -> list[Quantity]:
    """Every estimate that the prediction has."""
    named = ((item.name, getattr(prediction, item.name)) for item in fields(prediction))
    return [_quantity(name, unit_of(name), value) for name, value in named if isinstance(value, Estimate)]


def _power(timeline: Timeline, path: ToolPath) -> Power:
    """Mean power by subsystem in equal bins; each subsystem's energy is kept."""
    from twin_node.power import power_series

    series = power_series(timeline, timeline.total_s / POWER_BINS if timeline.total_s > 0.0 else None)
    watts = {part.name.lower(): column for part, column in series.power_w.items() if column.any()}
    middles = 0.5 * (series.edges_s[1:] + series.edges_s[:-1])
    return Power(series.edges_s, watts, _vertex(path, np.searchsorted(timeline.end_s, middles)))


def _temperatures(course: Course, ambient_c: float) -> dict[str, np.ndarray]:
    """The course's temperatures [degC] that change."""
    found = {
        item.name.removesuffix("_c"): getattr(course, item.name) for item in fields(course) if item.name.endswith("_c")
    }
    return {
        name: column
        for name, column in found.items()
        if len(column) and np.isfinite(column).all() and not np.allclose(column, ambient_c)
    }


def _balance(timeline: Timeline) -> tuple[Amount, ...]:
    """Where the electricity ends; what the three do not explain is stated, not hidden."""
    parts = {
        "heat_j": ("heat to the room", timeline.heat_j),
        "work_j": ("carried away by the material", float(timeline.course.work_j.sum())),
        "stored_j": ("still warm in the machine", timeline.stored_j),
    }
    rest = timeline.electric_j - sum(value for _, value in parts.values())
    if abs(rest) > 1e-6 * max(1.0, timeline.electric_j):
        parts["residual_j"] = ("not explained", rest)
    return tuple(Amount(key, title, "j", value) for key, (title, value) in parts.items() if value)


def _layer_energy(timeline: Timeline, moves: Moves, layers: Layers) -> LayerEnergy:
    energy, before, after = per_layer(layers, _electric(timeline))
    return LayerEnergy(
        z_m=layers.z_m,
        energy_j=energy,
        volume_m3=per_layer(layers, moves.volume_m3)[0],
        time_s=per_layer(layers, timeline.duration_s)[0],
        before_j=before,
        after_j=after,
    )


def _assumptions(case: Case) -> tuple[str, ...]:
    """What the numbers take for granted, in plain words."""
    from twin_node.oracle import DRAWS

    profile = case.profile
    said = [
        f"The machine starts cold, at {profile.ambient:g} °C, and nobody interrupts it.",
        f"A 90 % interval runs from the 5 % to the 95 % quantile of {DRAWS} simulated runs, in which what the profile "
        "does not know exactly (heaters, powers, room, speeds, mass) varies by its stated uncertainty.",
        f"Relative standard deviations: power of motors, fans and electronics {profile.power.uncertainty:.0%}"
        + "".join(
            f", {name} {heater.uncertainty:.0%}"
            for name, heater in (("hot end", profile.hotend), ("bed", profile.bed))
            if heater is not None
        )
        + ".",
        "The colour of a move is all the electricity that the whole machine draws during that move, divided by the "
        + (
            "volume that it deposits; heating up, travel and waiting are in the totals, not in the colours."
            if profile.kind == "printer"
            else "length of its path."
        ),
        "Energy by layer counts the travel and waiting that follow a layer's moves to that layer.",
        "Power over time is the mean of each of the steps drawn; peak power is the highest within an instruction.",
    ]
    if profile.spindle is not None and profile.stock is None:
        said.append(
            "The profile states no blank, so nothing says what the moves cut: the cut itself takes no power here."
        )
    costs = profile.costs
    if costs.failure_probability > 0.0 or costs.scrap_probability > 0.0:
        said.append(
            f"{costs.failure_probability:.1%} of the runs are taken to break off, and {costs.scrap_probability:.1%} of "
            "the finished parts not to be good; a good part's price carries them."
        )
    return tuple(said)
