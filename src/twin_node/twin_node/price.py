"""The price of one good part and its exergy account, from a prediction or from a measured run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from industriverse_core.artefacts import Estimate, Prediction, Quote
from industriverse_core.documents import Document, Ratio, load_document, named_document
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.units import KWH, kelvin

TARIFF_FOLDER = Path(__file__).parent / "data" / "tariffs"
DEAD_STATE_K = 298.15  # T0 of the exergy tables
HOUR_S = 3600.0
INTERVAL_SD = 1.645  # half-width of a 90 % interval in standard deviations


class Tariff(Document):
    """Prices that belong neither to the machine nor to the material. Every number has an entry in `sources`."""

    id: str
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")
    energy_per_kwh: float = Field(ge=0, description="electricity, per kWh")
    grid_carbon_g_per_kwh: float = Field(ge=0, description="[g CO2e/kWh]")
    carbon_per_tonne: float = Field(ge=0, description="price of one tonne of CO2e")
    energy_price_uncertainty: Ratio = Field(default=0.0, ge=0, le=1, description="relative standard deviation")
    scrap_uncertainty: Ratio = Field(default=0.0, ge=0, le=1, description="relative standard deviation")
    entropy_per_mj: float = Field(default=0.0, ge=0, description="price of exergy destroyed; 0 = not charged")
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Costs:
    """What one run costs, good or not, in the tariff's currency."""

    material: float
    energy: float
    machine_time: float
    labour: float
    carbon: float
    carbon_kg: float  # [kg CO2e]

    @property
    def run(self) -> float:
        """The sum."""
        return self.material + self.energy + self.machine_time + self.labour + self.carbon


@lru_cache(maxsize=32)
def load_tariff(name: str) -> Tariff:
    """A tariff by name or by the path of a YAML file. Raises ProfileError (BAD_PROFILE)."""
    path = named_document(name, TARIFF_FOLDER, "tariff", ErrorCode.BAD_PROFILE)
    return load_document(path, Tariff, ErrorCode.BAD_PROFILE)


def costs_of(
    time_s: float,
    energy_j: float,
    material_kg: float,
    profile: MachineProfile,
    material: Material | None,
    tariff: Tariff,
) -> Costs:
    """Costs of one run. Raises PredictionError (CANNOT_PRICE) for a number that is negative or not finite."""
    for name, value in (("time", time_s), ("energy", energy_j), ("material", material_kg)):
        if not (math.isfinite(value) and value >= 0.0):
            raise PredictionError(ErrorCode.CANNOT_PRICE, f"the {name} to price is {value}.", "Predict the job again.")
    carbon_kg = energy_j / KWH * tariff.grid_carbon_g_per_kwh * 1e-3
    carbon_kg += material_kg * (material.carbon_kg_per_kg if material else 0.0)
    return Costs(
        material=material_kg * (material.price_per_kg if material else 0.0),
        energy=energy_j / KWH * tariff.energy_per_kwh,
        machine_time=time_s / HOUR_S * profile.costs.machine_per_hour,
        labour=profile.costs.labour_per_job,
        carbon=carbon_kg * 1e-3 * tariff.carbon_per_tonne,
        carbon_kg=carbon_kg,
    )


def quote(prediction: Prediction, profile: MachineProfile, material: Material | None, tariff: Tariff) -> Quote:
    """The price of one good part.

    A run that fails is repeated, so a good part costs run / (1 - p) with p the scrap probability; `risk` is
    what that adds. The interval takes time and energy as fully correlated with each other (both grow with a
    slower machine) and material, tariff and scrap as independent of them.
    Raises PredictionError (CANNOT_PRICE) for a prediction of another machine or material.
    """
    if prediction.machine_id != profile.id or prediction.material != (material.id if material else ""):
        raise PredictionError(
            ErrorCode.CANNOT_PRICE,
            f"the prediction is for {prediction.machine_id} and '{prediction.material}', "
            f"not for {profile.id} and '{material.id if material else ''}'.",
            "Predict the job for this machine and material.",
        )
    costs = costs_of(
        prediction.time_s.mean, prediction.energy_j.mean, prediction.material_kg.mean, profile, material, tariff
    )
    destroyed_j = exergy_destroyed_j(prediction, profile, material)
    chemical_j = prediction.material_kg.mean * (material.chemical_exergy if material else 0.0)
    entropy = destroyed_j * 1e-6 * tariff.entropy_per_mj
    good = 1.0 - profile.costs.scrap_probability
    total = (costs.run + entropy) / good
    return Quote(
        prediction_digest=prediction.digest,
        currency=tariff.currency,
        material=costs.material,
        energy=costs.energy,
        machine_time=costs.machine_time,
        labour=costs.labour,
        carbon=costs.carbon,
        risk=total - costs.run - entropy,
        total=_total(prediction, costs, total, good, tariff),
        carbon_kg=costs.carbon_kg,
        exergy_in_j=prediction.energy_j.mean + chemical_j,
        exergy_destroyed_j=destroyed_j,
        task_efficiency=task_efficiency(prediction, material),
    )


def _total(prediction: Prediction, costs: Costs, total: float, good: float, tariff: Tariff) -> Estimate:
    """The total with its 90 % interval."""
    relative_scrap = INTERVAL_SD * tariff.scrap_uncertainty * (1.0 - good) / good
    relative_tariff = INTERVAL_SD * tariff.energy_price_uncertainty
    half = []
    for side in ("low", "high"):
        share = {
            name: abs(getattr(estimate, side) - estimate.mean) / estimate.mean if estimate.mean > 0.0 else 0.0
            for name, estimate in (
                ("time", prediction.time_s), ("energy", prediction.energy_j), ("mass", prediction.material_kg),
            )
        }  # fmt: skip
        running = share["time"] * costs.machine_time + share["energy"] * costs.energy
        parts = (running, share["mass"] * costs.material, relative_tariff * costs.energy, relative_scrap * costs.run)
        half.append(math.hypot(*parts) / good)
    return Estimate(total, total - half[0], total + half[1])


def melt_exergy_j_per_kg(material: Material) -> float:
    """Physical exergy [J/kg] of the melt over the dead state, at the middle of the material's nozzle window.

    Sum of cp [(T2 - T1) - T0 ln(T2 / T1)] for solid and melt (Szargut, Morris, Steward, "Exergy Analysis of
    Thermal, Chemical, and Metallurgical Processes", 1988). 0 for what is not printed.
    """
    if material.heat_capacity_melt is None or material.nozzle_min is None or material.nozzle_max is None:
        return 0.0
    nozzle = kelvin(0.5 * (material.nozzle_min + material.nozzle_max))
    soft = min(max(kelvin(material.softening), DEAD_STATE_K), nozzle)
    solid = material.heat_capacity_solid * _exergy_span(DEAD_STATE_K, soft)
    return solid + material.heat_capacity_melt * _exergy_span(soft, nozzle)


def _exergy_span(cold_k: float, hot_k: float) -> float:
    return hot_k - cold_k - DEAD_STATE_K * math.log(hot_k / cold_k)


def task_efficiency(prediction: Prediction, material: Material | None) -> float:
    """Exergy that the task needs over the electricity used, (delta b m) / W_el (Gutowski et al. 2009).

    For a printer the task is to melt the material. 0 where no material is melted or no energy is used.
    """
    if material is None or prediction.energy_j.mean <= 0.0:
        return 0.0
    return melt_exergy_j_per_kg(material) * prediction.material_kg.mean / prediction.energy_j.mean


def exergy_destroyed_j(prediction: Prediction, profile: MachineProfile, material: Material | None) -> float:
    """Exergy destroyed by the run [J], B_D = T0 S_gen (Gouy-Stodola).

    The balance encloses the machine and the air around it. In go the electricity (pure exergy) and the
    material's chemical exergy; out go the same chemical exergy in the part, the part's melt exergy, what is
    still stored as heat in the machine (counted as destroyed: it cools unused), and the heat to the room, which
    crosses the boundary at the room's temperature T_a and carries the share 1 - T0 / T_a (0 at or below T0).
    """
    melt = melt_exergy_j_per_kg(material) * prediction.material_kg.mean if material else 0.0
    carnot = max(0.0, 1.0 - DEAD_STATE_K / kelvin(profile.ambient))
    return max(0.0, prediction.energy_j.mean - melt - prediction.heat_j.mean * carnot)
