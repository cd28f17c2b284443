"""price: what one good part costs in money, in exergy and in carbon."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Case, File, Json, Machine, MaterialName, Stock, load_case
from industriverse_cli.output import columns, console, print_json
from industriverse_cli.programs import end, headline, judged, refusal_of, run_gate

if TYPE_CHECKING:
    from industriverse_core.artefacts import Prediction
    from industriverse_core.errors import GateError
    from twin_node.price import PriceBreakdown
    from twin_node.price_parts import Order
    from twin_node.tariff import Tariff

TariffName = Annotated[str, typer.Option(metavar="NAME", help="Prices: a name, or the path of a YAML file.")]
Start = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Local time of the first start, e.g. 2026-03-02T06:00. Default: not known; any hour of the week.",
        show_default=False,
    ),
]
Quantity = Annotated[int, typer.Option(metavar="N", help="Good parts, made one after the other.")]


def price(
    file: File,
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    stock: Stock = "",
    tariff: TariffName = "default",
    start: Start = "",
    quantity: Quantity = 1,
    json: Json = False,
) -> None:
    """Price one good part, and account for its exergy, its carbon and its Thermal Footprint.

    A program that the gates refuse is priced too, with the refusal on standard error and exit status 3.

    Example: industriverse price part.gcode --tariff time_of_use --start 2026-03-02T06:00 --quantity 10
    """
    from twin_node.price_parts import Order
    from twin_node.tariff import load_tariff, start_of

    prices, order = load_tariff(tariff), Order(quantity, start_of(start))
    case = load_case(file, machine, material, stock=stock)
    breakdown, prediction, refusal = _priced(case, prices, order)
    if json:
        print_json({**_json(breakdown, prediction), **judged(refusal)})
    else:
        _print(case, prices, breakdown, prediction)
    end(refusal)


def _priced(case: Case, tariff: Tariff, order: Order) -> tuple[PriceBreakdown, Prediction, GateError | None]:
    """The account, what it rests on, and the gates' refusal if there is one."""
    from industriverse_core.errors import PredictionError
    from twin_node.oracle import prediction_of
    from twin_node.price import price_part
    from twin_node.run_details import details_of
    from twin_node.timeline import build_timeline

    refusal = refusal_of(run_gate(case))
    try:
        timeline = build_timeline(case.program, case.profile, case.material)
        prediction = prediction_of(timeline, case.profile, case.material)
        details = details_of(timeline, case.profile, case.material, timeline.removed_m3)
        return price_part(prediction, case.profile, case.material, tariff, details, order), prediction, refusal
    except PredictionError:
        if refusal is not None:
            raise refusal from None
        raise


# --- JSON ---


def _json(breakdown: PriceBreakdown, prediction: Prediction) -> dict[str, Any]:
    offer = breakdown.quote()
    order = breakdown.order
    return {
        "currency": breakdown.currency,
        "total": breakdown.total.mean,
        "total_90": [breakdown.total.low, breakdown.total.high],
        "parts": asdict(breakdown.parts),
        "tariff": breakdown.tariff_id,
        "start": order.start.isoformat() if order.start else None,
        "quantity": order.quantity,
        "energy_bands": [asdict(band) for band in breakdown.bands],
        "peak_w": breakdown.peak_w,
        "new_peak_w": breakdown.new_peak_w,
        "carbon_kg": breakdown.carbon_kg,
        "electricity_carbon_kg": breakdown.electricity_carbon_kg,
        "material_carbon_kg": breakdown.material_carbon_kg,
        "risk": asdict(breakdown.risk),
        "tools": [
            {"number": use.number, "cut_s": use.cut_s, "cutting_speed_m_s": use.cutting_speed_m_s, "life_s": use.life_s}
            for use in breakdown.tools
        ],
        "material_flow": asdict(breakdown.flow),
        "exergy": _exergy_json(breakdown),
        "footprint": asdict(breakdown.footprint)
        | {"total_j": breakdown.footprint.total_j, "score": breakdown.footprint.score},
        "notes": list(breakdown.notes),
        "exergy_in_j": offer.exergy_in_j,
        "exergy_destroyed_j": offer.exergy_destroyed_j,
        "task_efficiency": offer.task_efficiency,
        "digest": offer.digest,
        "prediction_digest": offer.prediction_digest,
        "program_digest": prediction.program_digest,
        "machine": breakdown.machine_id,
        "material_id": breakdown.material_id,
    }


def _exergy_json(breakdown: PriceBreakdown) -> dict[str, Any]:
    ledger = breakdown.exergy
    names = ("electric_j", "material_in_j", "part_j", "rest_j", "melt_j", "stored_j", "destroyed_j", "task_j")
    return {
        **{name: getattr(ledger, name) for name in names},
        "heat": [asdict(stream) | {"exergy_j": stream.exergy_j} for stream in ledger.heat],
        "imbalance": ledger.imbalance,
        "task_efficiency": ledger.task_efficiency,
        "degree_of_perfection": ledger.degree_of_perfection,
    }


# --- for people ---


def _print(case: Case, tariff: Tariff, breakdown: PriceBreakdown, prediction: Prediction) -> None:
    from rich.text import Text

    out = console()
    out.print(headline(case, f"{breakdown.total.mean:.2f} {breakdown.currency} a part", "bold green"))
    out.print(Text(_order_text(breakdown), style="dim"))
    for title, table in (
        ("Price of one good part", _price_table(case, tariff, breakdown, prediction)),
        ("Electricity of one run, by tariff", _band_table(breakdown)),
        ("Exergy of one run", _exergy_table(breakdown)),
        ("Thermal Footprint of one good part", _footprint_table(case, tariff, breakdown)),
    ):
        out.print()
        out.print(Text(title, style="bold"))
        out.print(table)
    out.print()
    for sentence in (*_meanings(breakdown), *breakdown.notes):
        out.print(Text(sentence, style="dim"))


def _order_text(breakdown: PriceBreakdown) -> str:
    order = breakdown.order
    count = "1 part" if order.quantity == 1 else f"{order.quantity} parts, one after the other"
    start = f"from {order.start:%A %Y-%m-%d %H:%M} local time" if order.start else "start not given"
    return f"{count}, {start}, tariff {breakdown.tariff_id}"


def _price_table(case: Case, tariff: Tariff, breakdown: PriceBreakdown, prediction: Prediction) -> Any:
    table = columns("", f">{breakdown.currency}", ">share", "made of")
    parts, total = breakdown.parts, breakdown.total
    for name, how in _explained(case, tariff, breakdown, prediction).items():
        amount = getattr(parts, name)
        if amount == 0.0 and name in ("recovered", "demand", "tool_wear", "entropy", "risk_premium"):
            continue
        share = amount / total.mean if total.mean > 0.0 else 0.0
        table.add_row(name.replace("_", " "), f"{amount:.4f}", f"{share:.1%}", how)
    table.add_row("total", f"{total.mean:.4f}", "100.0%", f"90 % interval {total.low:.2f} to {total.high:.2f}")
    return table


def _explained(case: Case, tariff: Tariff, breakdown: PriceBreakdown, prediction: Prediction) -> dict[str, str]:
    """How each part of the price comes about."""
    from industriverse_core.units import duration_text, energy_text

    costs, flow, currency = case.profile.costs, breakdown.flow, breakdown.currency
    setting_up = f"{duration_text(costs.labour_time)} of set-up" if costs.labour_time else ""
    waiting = f" and {setting_up}" if setting_up else ""
    running = duration_text(prediction.time_s.mean)
    sharing = f", shared by {breakdown.order.quantity} parts" if breakdown.order.quantity > 1 else ""
    return {
        "material": f"{flow.fed_kg * 1e3:.2f} g at {case.material.price_per_kg:.2f} {currency}/kg",
        "recovered": f"{flow.recovered_kg * 1e3:.2f} g sold at {case.material.recovery_price_per_kg:.2f} {currency}/kg",
        "energy": f"{energy_text(breakdown.exergy.electric_j)} by tariff",
        "demand": f"the site's peak rises by {breakdown.new_peak_w:.1f} W{sharing}",
        "machine_time": f"{running}{waiting} at {costs.machine_per_hour:.2f} {currency}/h",
        "labour": f"{setting_up} and removal" if setting_up else "set-up and removal",
        "tool_wear": _wear_text(breakdown),
        "carbon": f"{breakdown.carbon_kg * 1e3:.1f} g CO2e at {tariff.carbon_per_tonne:.2f} {currency}/t",
        "entropy": f"exergy destroyed at {tariff.entropy_per_mj:.4f} {currency}/MJ",
        "expected_loss": f"{costs.failure_probability:.1%} of the runs break off",
        "risk_premium": f"{tariff.risk_aversion:.0%} of what the worst 5 % of runs lose beyond that",
        "yield_loss": f"{costs.scrap_probability:.1%} of the finished parts are not good",
    }


def _wear_text(breakdown: PriceBreakdown) -> str:
    """Each tool's time in the cut, over its life by Taylor."""
    from industriverse_core.units import duration_text

    priced = [use for use in breakdown.tools if use.tool is not None and use.tool.price > 0.0]
    return "; ".join(
        f"tool {use.number} cuts {duration_text(use.cut_s)} of a life of {duration_text(use.life_s)}" for use in priced
    )


def _band_table(breakdown: PriceBreakdown) -> Any:
    unit, scale = _unit(breakdown.exergy.electric_j)
    table = columns("hours", f">{unit}", f">{breakdown.currency}/kWh", f">{breakdown.currency}")
    for band in breakdown.bands:
        table.add_row(band.name, _in(band.energy_j, scale), f"{band.price_per_kwh:.4f}", f"{band.cost:.4f}")
    return table


def _exergy_table(breakdown: PriceBreakdown) -> Any:
    ledger = breakdown.exergy
    unit, scale = _unit(ledger.in_j)
    table = columns("", f">{unit}", ">share", "")
    rows = [
        ("in   electricity", ledger.electric_j, "pure exergy"),
        ("in   material", ledger.material_in_j, "chemical exergy of what is fed"),
        ("out  part", ledger.part_j, "chemical exergy of what is in the part"),
        ("out  chips", ledger.rest_j, "chemical exergy of what is cut away"),
        ("out  warmth of the part", ledger.melt_j, "as it leaves the nozzle; it cools"),
        *((f"out  heat of {stream.name}", stream.exergy_j, _stream_text(stream)) for stream in ledger.heat),
        ("out  heat left in the heaters", ledger.stored_j, "they cool after the run"),
        ("     destroyed in the machine", ledger.destroyed_j, "T0 x entropy produced (Gouy-Stodola)"),
    ]
    for name, value, text in rows:
        if value != 0.0 or name.startswith(("in", "out  heat of")):
            share = value / ledger.in_j if ledger.in_j > 0.0 else 0.0
            table.add_row(name, _in(value, scale), f"{share:.1%}", text)
    return table


def _stream_text(stream: Any) -> str:
    from industriverse_core.units import ZERO_CELSIUS, energy_text

    at = stream.heat_j / stream.entropy_j_per_k - ZERO_CELSIUS if stream.entropy_j_per_k else math.nan
    return f"{energy_text(stream.heat_j)} at {at:.0f} degC" if math.isfinite(at) else energy_text(stream.heat_j)


def _footprint_table(case: Case, tariff: Tariff, breakdown: PriceBreakdown) -> Any:
    made = breakdown.footprint
    unit, scale = _unit(made.total_j)
    least = "" if made.score is None else f"the least possible is {_in(made.minimum_j, scale)} {unit}"
    table = columns("", f">{unit}", ">share", "")
    rows = [
        ("destroyed in the machine", made.destroyed_j, "electricity turned into heat"),
        ("lost with heat", made.lost_j, "of the heaters and the warm part"),
        ("material", made.material_j, f"making it took {case.material.cumulative_exergy_j_per_kg * 1e-6:.0f} MJ/kg"),
        ("electricity", made.electricity_j, f"making 1 J of it took {tariff.grid_exergy:.2f} J"),
        ("failures and scrap", made.failures_j, "the same again, for runs and parts that are lost"),
        ("total", made.total_j, least),
    ]
    for name, value, text in rows:
        share = value / made.total_j if made.total_j > 0.0 else 0.0
        table.add_row(name, _in(value, scale), f"{share:.1%}", text)
    return table


def _meanings(breakdown: PriceBreakdown) -> list[str]:
    """One sentence for each figure that needs one."""
    ledger, made = breakdown.exergy, breakdown.footprint
    sentences = [
        f"Task efficiency {ledger.task_efficiency:.2%}: the share of the electricity that an ideal machine would need.",
        f"Degree of perfection {ledger.degree_of_perfection:.1%}: the share of all exergy fed that is in the part.",
    ]
    if made.score is None:
        sentences.append("No Thermal Footprint Score: nothing is made, or it is not known what.")
    else:
        sentences.append(
            f"Thermal Footprint Score {made.score:.0f} of 100: {made.total_j / made.minimum_j:.2f} times the least "
            f"possible. The worst 5 % of the class {made.reference} score 0: above {made.reference_ratio:.2f} times."
        )
    return sentences


def _unit(energy_j: float) -> tuple[str, float]:
    """One unit for a whole table, so that its figures can be compared at a glance."""
    return ("MJ", 1e6) if abs(energy_j) >= 1e6 else ("kJ", 1e3)


def _in(energy_j: float, scale: float) -> str:
    """An energy in a table's unit."""
    return f"{energy_j / scale:.{3 if scale > 1e3 else 2}f}"
