"""The price of one good part, from a prediction; and what a measured run has cost.

    price = [material - recovered + energy by tariff + new peak + machine time + labour + tool wear + carbon
             + entropy + R] / (1 - p_scrap)

R = expected loss and premium of runs that break off (risk.py). docs/pricing.md explains each part, and why the entropy
term is zero unless someone asks for it. All amounts are in the tariff's currency.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from industriverse_core.artefacts import Estimate, Prediction, Quote
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.units import KWH
from twin_node.exergy import ExergyLedger, MaterialFlow, exergy_ledger, melt_of
from twin_node.footprint import ThermalFootprint, reference_for, thermal_footprint
from twin_node.price_parts import (
    BandEnergy,
    Order,
    PriceCase,
    PriceParts,
    bands_of,
    carbon_kg_of,
    new_peak_w,
    parts_of,
    risk_of_runs,
    scrap_probability,
)
from twin_node.risk import Risk
from twin_node.run_details import RunDetails, blank_kg
from twin_node.run_series import RunSeries
from twin_node.tariff import WEEK_S, Tariff, price_table
from twin_node.tool_wear import ToolUse, wear_cost

INTERVAL_SD = 1.645  # half-width of a 90 % interval in standard deviations
MAX_QUANTITY = 10_000
STARTS = 7 * 24  # moments of the week that are tried where the start is not known
LARGEST = 1e15  # of seconds, joules or kilograms; more is a mistake and would overflow
NO_DETAILS = RunDetails()


@dataclass(frozen=True, slots=True)
class PriceBreakdown:
    """The whole account behind a quote. Amounts in `currency`."""

    prediction_digest: Digest
    machine_id: str
    material_id: str
    tariff_id: str
    currency: str
    order: Order
    parts: PriceParts
    total: Estimate
    bands: tuple[BandEnergy, ...]
    peak_w: float  # highest quarter-hour mean of the machine
    new_peak_w: float  # by which the site's peak rises; 0 without a demand charge
    electricity_carbon_kg: float  # of one run [kg CO2e]
    material_carbon_kg: float
    risk: Risk
    tools: tuple[ToolUse, ...]
    flow: MaterialFlow
    exergy: ExergyLedger  # of one run
    footprint: ThermalFootprint  # of one good part
    notes: tuple[str, ...]  # what the price does not know, one sentence each

    @property
    def carbon_kg(self) -> float:
        """Carbon dioxide equivalent of one run."""
        return self.electricity_carbon_kg + self.material_carbon_kg

    def quote(self) -> Quote:
        """The same price as the message has it: its six parts sum to its total."""
        parts = self.parts
        return Quote(
            prediction_digest=self.prediction_digest,
            currency=self.currency,
            material=parts.material + parts.recovered,
            energy=parts.energy + parts.demand + parts.entropy,
            machine_time=parts.machine_time + parts.tool_wear,
            labour=parts.labour,
            carbon=parts.carbon,
            risk=parts.expected_loss + parts.risk_premium + parts.yield_loss,
            total=self.total,
            carbon_kg=self.carbon_kg,
            exergy_in_j=self.exergy.in_j,
            exergy_destroyed_j=self.exergy.destroyed_with_room_j,
            task_efficiency=self.exergy.task_efficiency,
        )


def price_of_run(
    time_s: float,
    energy_j: float,
    material_kg: float,
    profile: MachineProfile,
    material: Material | None,
    tariff: Tariff,
) -> float:
    """The price of one good part, from what one run was measured to take; as for constant power and no known start.

    Raises PredictionError (CANNOT_PRICE) for a number that is negative, too large or not finite.
    """
    _check_numbers(time_s, energy_j, material_kg)
    flow = _flow(material_kg, profile, material, NO_DETAILS)
    warmth_j = flow.fed_kg * melt_of(material, feed_c=profile.ambient).exergy_j_per_kg
    feeds_kg = material_kg if profile.kind == "printer" else 0.0
    run = RunSeries.constant(time_s, energy_j, feeds_kg)
    case = PriceCase(run, flow, profile, material, tariff, Order(), 0.0, max(0.0, energy_j - warmth_j))
    return parts_of(case).total


def quote(prediction: Prediction, profile: MachineProfile, material: Material | None, tariff: Tariff) -> Quote:
    """The price of one good part, from the prediction alone: constant power, start not known.

    Raises PredictionError as price_part does.
    """
    return price_part(prediction, profile, material, tariff).quote()


def expected_price(
    prediction: Prediction, profile: MachineProfile, material: Material | None, tariff: Tariff
) -> tuple[float, float]:
    """The mean of the quote, and its carbon dioxide equivalent [kg]; no interval, no footprint. For many files at once.

    Raises PredictionError as price_part does.
    """
    case, _ = _case(prediction, profile, material, tariff, NO_DETAILS, Order())
    return parts_of(case).total, math.fsum(carbon_kg_of(case))


def price_part(
    prediction: Prediction,
    profile: MachineProfile,
    material: Material | None,
    tariff: Tariff,
    details: RunDetails = NO_DETAILS,
    order: Order = Order(),  # noqa: B008 - frozen
) -> PriceBreakdown:
    """The price of one good part, its exergy and its footprint.

    Raises PredictionError (CANNOT_PRICE) for a prediction of another machine or material, for numbers that are
    negative or not finite, for a quantity out of range, and for an energy that cannot do what is predicted.
    """
    case, ledger = _case(prediction, profile, material, tariff, details, order)
    return _breakdown(case, prediction, ledger, details)


def _case(
    prediction: Prediction, profile: MachineProfile, material: Material | None, tariff: Tariff, details: RunDetails,
    order: Order,
) -> tuple[PriceCase, ExergyLedger]:  # fmt: skip
    """What is priced, and the exergy of one run."""
    _check(prediction, profile, material, order)
    energy_j, mass_kg = prediction.energy_j.mean, prediction.material_kg.mean
    flow = _flow(mass_kg, profile, material, details)
    melt = melt_of(material, details.nozzle_c, profile.ambient)
    ledger = exergy_ledger(energy_j, flow, material, melt, profile.ambient, details.heat, details.stored)
    series = details.series or RunSeries.constant(prediction.time_s.mean, energy_j, mass_kg)
    feeds = mass_kg if profile.kind == "printer" else 0.0
    case = PriceCase(
        run=series.scaled(prediction.time_s.mean, energy_j, feeds),
        flow=flow, profile=profile, material=material, tariff=tariff, order=order,
        wear=wear_cost(details.tools or ()), destroyed_j=ledger.destroyed_with_room_j,
    )  # fmt: skip
    return case, ledger


def _breakdown(case: PriceCase, prediction: Prediction, ledger: ExergyLedger, details: RunDetails) -> PriceBreakdown:
    profile, tariff = case.profile, case.tariff
    parts = parts_of(case)
    electricity_kg, material_kg = carbon_kg_of(case)
    return PriceBreakdown(
        prediction_digest=prediction.digest,
        machine_id=profile.id,
        material_id=case.material.id if case.material else "",
        tariff_id=tariff.id,
        currency=tariff.currency,
        order=case.order,
        parts=parts,
        total=_interval(case, parts.total, prediction),
        bands=bands_of(case),
        peak_w=case.batch.highest_quarter_w(case.start_s),
        new_peak_w=new_peak_w(case),
        electricity_carbon_kg=electricity_kg,
        material_carbon_kg=material_kg,
        risk=risk_of_runs(case),
        tools=details.tools or (),
        flow=case.flow,
        exergy=ledger,
        footprint=_footprint(case, ledger, _part_is_known(case, prediction, details)),
        notes=tuple(_notes(case, prediction, details)),
    )


def _footprint(case: PriceCase, ledger: ExergyLedger, part_is_known: bool) -> ThermalFootprint:
    costs = case.profile.costs
    made = thermal_footprint(
        ledger, case.flow, case.material, case.tariff.grid_exergy, reference_for(case.profile.kind),
        costs.failure_probability, costs.scrap_probability,
    )  # fmt: skip
    return made if part_is_known else replace(made, minimum_j=math.nan)


def _part_is_known(case: PriceCase, prediction: Prediction, details: RunDetails) -> bool:
    """Whether it is known what becomes of the material: a mill's program alone does not say."""
    return case.profile.kind == "printer" or details.removed_kg is not None or prediction.material_kg.mean > 0.0


def _interval(case: PriceCase, mean: float, prediction: Prediction) -> Estimate:
    """The price with its 90 % interval.

    The price is evaluated again at the ends of what is uncertain. Time and energy move together (both grow with
    a slower machine); mass, tariff, scrap and an unknown start are independent, and add up in quadrature.
    """
    time, energy, mass = prediction.time_s, prediction.energy_j, prediction.material_kg
    tariff = case.tariff
    ends = []
    for side, sign in (("low", -1.0), ("high", 1.0)):
        relative_mass = getattr(mass, side) / mass.mean if mass.mean > 0.0 else 1.0
        price = max(0.0, 1.0 + sign * INTERVAL_SD * tariff.energy_price_uncertainty)
        failing = max(0.0, 1.0 + sign * INTERVAL_SD * tariff.scrap_uncertainty)
        ends_of_run = max(0.0, getattr(time, side)), max(0.0, getattr(energy, side))
        varied = []  # what is certain moves nothing
        if ends_of_run != (time.mean, energy.mean):
            varied.append(case.scaled(*ends_of_run, 1.0))
        if relative_mass != 1.0:
            varied.append(case.scaled(time.mean, energy.mean, max(0.0, relative_mass)))
        if price != 1.0:
            varied.append(replace(case, price_factor=price))
        if failing != 1.0:
            varied.append(replace(case, risk_factor=failing))
        moved = [max(0.0, sign * (parts_of(each).total - mean)) for each in varied]
        ends.append(mean + sign * math.hypot(*moved, _start_spread(case, sign)))
    return Estimate(mean, *ends)


def _start_spread(case: PriceCase, sign: float) -> float:
    """How far the price of electricity can lie from its mean over the week, where the start is not known."""
    if case.start_s is not None or not case.tariff.bands:
        return 0.0
    table = price_table(case.tariff)
    starts = np.arange(STARTS) * (WEEK_S / STARTS)
    costs = np.array([table.energy_j(case.batch, start) @ table.values for start in starts])
    end = float(np.quantile(costs, 0.05 if sign < 0.0 else 0.95))
    mean = case.order.quantity * case.run.total_j * table.mean
    return max(0.0, sign * (end - mean)) / KWH / case.order.quantity / (1.0 - scrap_probability(case))


def _flow(mass_kg: float, profile: MachineProfile, material: Material | None, details: RunDetails) -> MaterialFlow:
    """What is fed and what becomes the part. All that leaves a nozzle counts as the part."""
    if profile.kind == "printer" or material is None:
        return MaterialFlow(mass_kg, mass_kg)
    blank = blank_kg(profile, material.density)
    removed = mass_kg if details.removed_kg is None else details.removed_kg
    fed = removed if blank is None else blank
    return MaterialFlow(fed, fed - removed, removed * material.recovered_share)


def _notes(case: PriceCase, prediction: Prediction, details: RunDetails) -> Iterator[str]:
    """What the price does not know."""
    tariff = case.tariff
    if case.order.start is None and (tariff.bands or tariff.grid_carbon_by_hour):
        yield "No start is given: electricity is priced at the week's mean, and the interval holds every start."
    if case.order.start is None and tariff.demand is not None:
        yield "No start is given: the peak is that of the worst quarter-hour."
    if details.series is None:
        yield "The course of the power is not known: it is taken as constant."
    if case.profile.kind == "mill":
        if not _part_is_known(case, prediction, details):
            yield "The volume removed is not known: the whole blank counts as the part, and there is no score."
        if case.profile.stock is None:
            yield "The machine profile states no stock: the blank is not in the price."
        if not any(use.tool and use.tool.price > 0.0 for use in details.tools or ()):
            yield "No tool with a price is known to cut: tool wear is not in the price."


def _check(prediction: Prediction, profile: MachineProfile, material: Material | None, order: Order) -> None:
    named = material.id if material else ""
    if prediction.machine_id != profile.id or prediction.material != named:
        raise PredictionError(
            ErrorCode.CANNOT_PRICE,
            f"the prediction is for {prediction.machine_id} and '{prediction.material}', "
            f"not for {profile.id} and '{named}'.",
            "Predict the job for this machine and material.",
        )
    if not 1 <= order.quantity <= MAX_QUANTITY:
        raise PredictionError(
            ErrorCode.CANNOT_PRICE,
            f"a quantity of {order.quantity} is out of range.",
            f"Price 1 to {MAX_QUANTITY} parts.",
        )
    for estimate in (prediction.time_s, prediction.energy_j, prediction.material_kg):
        _check_numbers(estimate.mean, abs(estimate.low), abs(estimate.high))
    _check_numbers(prediction.time_s.mean, prediction.energy_j.mean, prediction.material_kg.mean)


def _check_numbers(time_s: float, energy_j: float, material_kg: float) -> None:
    for name, value in (("time", time_s), ("energy", energy_j), ("material", material_kg)):
        if not 0.0 <= value <= LARGEST:
            raise PredictionError(ErrorCode.CANNOT_PRICE, f"the {name} to price is {value}.", "Predict the job again.")
