"""One evaluation of the price, from all that it follows from to its parts. The interval evaluates it many times."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from datetime import datetime

import numpy as np

from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.units import KWH
from twin_node.exergy import MaterialFlow
from twin_node.risk import LossEvent, Risk, risk_of
from twin_node.run_series import Batch, RunSeries
from twin_node.tariff import HOUR_S, Tariff, carbon_table, price_table, week_second


@dataclass(frozen=True, slots=True)
class Order:
    """How many good parts, one after the other, from when on."""

    quantity: int = 1
    start: datetime | None = None  # local time of the site; None: not known


@dataclass(frozen=True, slots=True)
class PriceParts:
    """The parts of the price of one good part; their sum is the price."""

    material: float
    recovered: float  # paid for what is recovered; zero or negative
    energy: float
    demand: float  # this part's share of the charge for a new peak
    machine_time: float
    labour: float
    tool_wear: float
    carbon: float
    entropy: float  # zero unless the tariff prices it
    expected_loss: float  # of runs that break off
    risk_premium: float
    yield_loss: float  # finished parts that are not good

    @property
    def total(self) -> float:
        """The price."""
        return math.fsum(getattr(self, item.name) for item in fields(self))


@dataclass(frozen=True, slots=True)
class BandEnergy:
    """Electricity of one run in one kind of hour."""

    name: str
    energy_j: float
    price_per_kwh: float
    cost: float


@dataclass(frozen=True, slots=True, eq=False)
class PriceCase:
    """All that a price follows from; the interval varies it."""

    run: RunSeries
    flow: MaterialFlow
    profile: MachineProfile
    material: Material | None
    tariff: Tariff
    order: Order
    wear: float
    destroyed_j: float
    price_factor: float = 1.0  # on every price of electricity
    risk_factor: float = 1.0  # on every probability of failure or scrap

    @property
    def batch(self) -> Batch:
        """All runs of the order."""
        return Batch(self.run, self.order.quantity, self.profile.costs.labour_time)

    @property
    def start_s(self) -> float | None:
        """First start, seconds after Monday 00:00."""
        return None if self.order.start is None else week_second(self.order.start)

    def scaled(self, time_s: float, energy_j: float, mass: float) -> PriceCase:
        """The same case with another duration and energy, and `mass` times the material of a print."""
        flow, feeds = self.flow, self.run.material_kg[-1] > 0.0
        if feeds:
            flow = MaterialFlow(mass * flow.fed_kg, mass * flow.part_kg, mass * flow.recovered_kg)
        ratio = energy_j / self.run.total_j if self.run.total_j > 0.0 else 1.0
        run = self.run.scaled(time_s, energy_j, flow.fed_kg if feeds else 0.0)
        return replace(self, run=run, flow=flow, destroyed_j=ratio * self.destroyed_j)


def parts_of(case: PriceCase) -> PriceParts:
    """The parts of the price. Raises PredictionError as Batch does."""
    sums, risk = _run_costs(case), risk_of_runs(case)
    costs, good = case.profile.costs, 1.0 - scrap_probability(case)
    run = math.fsum(sums.values())
    for_good = run + risk.expected + risk.premium
    return PriceParts(
        **sums,
        expected_loss=risk.expected,
        risk_premium=risk.premium,
        yield_loss=for_good * (1.0 - good) / good if costs.scrap_probability > 0.0 else 0.0,
    )


def scrap_probability(case: PriceCase) -> float:
    """Probability that a finished part is not good."""
    return min(case.profile.costs.scrap_probability * case.risk_factor, 0.99)


def _run_costs(case: PriceCase) -> dict[str, float]:
    """What one run costs, by part, its share of the batch's charges included."""
    costs, material, tariff, flow = case.profile.costs, case.material, case.tariff, case.flow
    waiting_h = costs.labour_time / HOUR_S
    return {
        "material": flow.fed_kg * (material.price_per_kg if material else 0.0),
        "recovered": -flow.recovered_kg * (material.recovery_price_per_kg if material else 0.0),
        "energy": math.fsum(band.cost for band in bands_of(case)),
        "demand": _demand_charge(case),
        "machine_time": (case.run.total_s / HOUR_S + waiting_h) * costs.machine_per_hour,
        "labour": costs.labour_per_job + waiting_h * costs.labour_per_hour,
        "tool_wear": case.wear,
        "carbon": math.fsum(carbon_kg_of(case)) * 1e-3 * tariff.carbon_per_tonne,
        "entropy": case.destroyed_j * 1e-6 * tariff.entropy_per_mj,
    }


def bands_of(case: PriceCase) -> tuple[BandEnergy, ...]:
    """Electricity of one run by kind of hour; of a batch, the mean run. Kinds without energy are left out."""
    table = price_table(case.tariff)
    energy_j = table.energy_j(case.batch, case.start_s) / case.order.quantity
    return tuple(
        BandEnergy(name, float(used), float(price), float(used / KWH * price))
        for name, used, price in zip(table.names, energy_j, table.values * case.price_factor, strict=True)
        if used > 0.0
    )


def carbon_kg_of(case: PriceCase) -> tuple[float, float]:
    """Carbon dioxide equivalent [kg] of one run: of its electricity by the grid's hours, and of making its material."""
    table = carbon_table(case.tariff)
    grams = table.energy_j(case.batch, case.start_s) / KWH @ table.values / case.order.quantity
    made = case.flow.fed_kg * (case.material.carbon_kg_per_kg if case.material else 0.0)
    return float(grams) * 1e-3, made


def new_peak_w(case: PriceCase) -> float:
    """Power [W] by which the site's highest quarter-hour rises; 0 where the tariff has no such charge."""
    demand = case.tariff.demand
    if demand is None:
        return 0.0
    return max(0.0, demand.site_load + case.batch.highest_quarter_w(case.start_s) - demand.site_peak)


def _demand_charge(case: PriceCase) -> float:
    """Each part's share: a peak is paid once, whatever is made below it."""
    demand = case.tariff.demand
    if demand is None:
        return 0.0
    return new_peak_w(case) * 1e-3 * demand.per_kw * case.price_factor / case.order.quantity


def risk_of_runs(case: PriceCase) -> Risk:
    """Losses by runs that break off: set-up and repair, and what was spent until then.

    Spent are material, energy and its carbon by their course over the run, machine time and wear in proportion to
    time. A mill's blank is lost whenever its run breaks off.
    """
    costs, sums = case.profile.costs, _run_costs(case)
    waiting = costs.labour_time / HOUR_S * costs.machine_per_hour
    electricity_kg, material_kg = carbon_kg_of(case)
    per_kg = 1e-3 * case.tariff.carbon_per_tonne
    fed = sums["material"] + material_kg * per_kg
    used = sums["energy"] + electricity_kg * per_kg
    timed = sums["machine_time"] - waiting + sums["tool_wear"]
    feeds = case.run.material_kg[-1] > 0.0

    def spent(share: np.ndarray) -> np.ndarray:
        material = case.run.material_share(share) if feeds else np.ones_like(share)
        return fed * material + used * case.run.energy_share(share) + timed * share

    factor = min(case.risk_factor, 0.99 / max(costs.failure_probability, 1e-9))
    fixed = sums["labour"] + waiting
    events = [LossEvent(each.name, each.probability * factor, fixed + each.repair) for each in costs.failures]
    return risk_of(events, spent, case.tariff.risk_aversion)
