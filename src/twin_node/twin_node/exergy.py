"""The exergy ledger of one run: what came in, what went out and at which temperature, and what was destroyed.

The balance encloses the machine up to the surfaces of its heaters:

    W_el + m_in b = m_part b + m_rest b + m_part db + sum of Q_k (1 - T0 / T_k) + dB_store + B_D

b chemical exergy, db physical exergy of the material as it leaves the nozzle, Q_k heat that leaves at T_k, dB_store
exergy of the heat left in the heaters. The destroyed exergy B_D is T0 times the entropy produced (Gouy-Stodola), summed
from entropies alone; that the balance closes is therefore a check, not a definition. Electricity is pure exergy.
Source: Szargut, Morris, Steward, "Exergy Analysis of Thermal, Chemical, and Metallurgical Processes", 1988.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.material import Material
from industriverse_core.units import energy_text, kelvin

DEAD_STATE_K = 298.15  # T0 by convention; its pressure is 101.325 kPa
MELT_PRESSURE_PA = 5e6  # assumption: pressure that pushes the melt through the nozzle, of the order of 1-10 MPa
CLOSED = 1e-9  # of the exergy that comes in


@dataclass(frozen=True, slots=True)
class Melt:
    """What one kilogram of material takes up from the room to the nozzle."""

    enthalpy_j_per_kg: float
    exergy_j_per_kg: float


@dataclass(frozen=True, slots=True)
class HeatStream:
    """Heat that leaves the machine. One that leaves below T0 carries no exergy: the room is no cold store."""

    name: str
    heat_j: float
    entropy_j_per_k: float

    @staticmethod
    def at(name: str, heat_j: float, temperature_c: float) -> HeatStream:
        """Heat that leaves at one temperature."""
        return HeatStream(name, heat_j, heat_j / max(kelvin(temperature_c), DEAD_STATE_K))

    @staticmethod
    def over(name: str, heat_j: np.ndarray, temperature_c: np.ndarray) -> HeatStream:
        """Heat that leaves at a temperature that changes, shapes (n,)."""
        absolute = np.maximum(kelvin(temperature_c), DEAD_STATE_K)
        return HeatStream(name, float(heat_j.sum()), float(np.sum(heat_j / absolute)))

    @property
    def exergy_j(self) -> float:
        """Q (1 - T0 / T), summed over the stream."""
        return self.heat_j - DEAD_STATE_K * self.entropy_j_per_k


@dataclass(frozen=True, slots=True)
class StoredHeat:
    """A body that ends the run warmer than it began."""

    capacity_j_per_k: float
    start_c: float
    end_c: float

    @property
    def heat_j(self) -> float:
        """C (T2 - T1)."""
        return self.capacity_j_per_k * (self.end_c - self.start_c)

    @property
    def entropy_j_per_k(self) -> float:
        """C ln(T2 / T1)."""
        return self.capacity_j_per_k * math.log(kelvin(self.end_c) / kelvin(self.start_c))


@dataclass(frozen=True, slots=True)
class MaterialFlow:
    """Material of one run: fed = in the part + recovered + lost."""

    fed_kg: float
    part_kg: float
    recovered_kg: float = 0.0

    def __post_init__(self) -> None:
        parts = (self.fed_kg, self.part_kg, self.recovered_kg)
        sound = all(math.isfinite(mass) and mass >= 0.0 for mass in parts)
        if not sound or self.part_kg + self.recovered_kg > self.fed_kg * (1.0 + CLOSED):
            raise PredictionError(
                ErrorCode.CANNOT_PRICE,
                f"{self.fed_kg:g} kg fed are not {self.part_kg:g} kg of part and {self.recovered_kg:g} kg recovered.",
                "Predict the job again, or state the blank that the part is cut from.",
            )


@dataclass(frozen=True, slots=True)
class ExergyLedger:
    """Where the exergy of one run went. All in joules; `in_j` = `out_j` + `destroyed_j`, checked when it is made."""

    electric_j: float
    material_in_j: float  # chemical
    part_j: float  # chemical
    rest_j: float  # chemical, of the material that is not in the part
    melt_j: float  # physical, of the material as it leaves the nozzle
    heat: tuple[HeatStream, ...]
    stored_j: float
    destroyed_j: float  # T0 times the entropy produced
    task_j: float  # the least electricity that would do the task
    room_j: float  # exergy that all the heat still has at the room's temperature

    @property
    def in_j(self) -> float:
        """Exergy that comes in."""
        return self.electric_j + self.material_in_j

    @property
    def heat_j(self) -> float:
        """Exergy that leaves with heat."""
        return math.fsum(stream.exergy_j for stream in self.heat)

    @property
    def out_j(self) -> float:
        """Exergy that leaves or stays behind as such."""
        return self.part_j + self.rest_j + self.melt_j + self.heat_j + self.stored_j

    @property
    def imbalance(self) -> float:
        """What the balance does not close by, over the size of its terms: little may come in where much is kept."""
        terms = (self.in_j, self.part_j, self.rest_j, self.melt_j, self.heat_j, self.stored_j, self.destroyed_j)
        size = math.hypot(*terms)
        return (self.in_j - self.out_j - self.destroyed_j) / size if size != 0.0 else 0.0

    @property
    def lost_j(self) -> float:
        """Exergy that leaves unused: of heat, of what stays warm, and of the part, which cools."""
        return self.heat_j + self.stored_j + self.melt_j

    @property
    def destroyed_with_room_j(self) -> float:
        """Exergy destroyed by the run when heaters and room have come to rest; the part's own is not counted."""
        return max(0.0, self.destroyed_j + self.heat_j + self.stored_j - self.room_j)

    @property
    def task_efficiency(self) -> float:
        """Exergy that the task needs over the electricity used, (db m + V dp) / W_el (Gutowski et al. 2009)."""
        return self.task_j / self.electric_j if self.electric_j > 0.0 else 0.0

    @property
    def degree_of_perfection(self) -> float:
        """Exergy in the product over all that came in, m_part b / (m_in b + W_el) (Szargut 1988)."""
        return self.part_j / self.in_j if self.in_j > 0.0 else 0.0


def physical_exergy_j_per_kg(capacity_j_per_kg_k: float, cold_c: float, hot_c: float) -> float:
    """Exergy difference [J/kg] of a body of constant heat capacity: cp [(T2 - T1) - T0 ln(T2 / T1)]."""
    cold, hot = kelvin(cold_c), kelvin(hot_c)
    return capacity_j_per_kg_k * (hot - cold - DEAD_STATE_K * math.log(hot / cold))


def usual_nozzle_c(material: Material) -> float | None:
    """Middle of the material's nozzle window; None for what is not printed."""
    if material.heat_capacity_melt is None or material.nozzle_min is None or material.nozzle_max is None:
        return None
    return 0.5 * (material.nozzle_min + material.nozzle_max)


def melt_of(material: Material | None, nozzle_c: float | None = None, feed_c: float = 25.0) -> Melt:
    """What melting takes: solid up to softening, melt above, and the heat of fusion of the crystalline share.

    `nozzle_c`: default the middle of the material's window. Zero for what is not printed.
    """
    if material is None or material.heat_capacity_melt is None:
        return Melt(0.0, 0.0)
    hot = usual_nozzle_c(material) if nozzle_c is None else nozzle_c
    if hot is None or hot <= feed_c:
        return Melt(0.0, 0.0)
    soft = min(max(material.softening, feed_c), hot)
    enthalpy = material.heat_capacity_solid * (soft - feed_c) + material.heat_capacity_melt * (hot - soft)
    exergy = physical_exergy_j_per_kg(material.heat_capacity_solid, feed_c, soft)
    exergy += physical_exergy_j_per_kg(material.heat_capacity_melt, soft, hot)
    if material.melting is not None and hot >= material.melting:
        enthalpy += material.fusion_enthalpy
        exergy += material.fusion_enthalpy * (1.0 - DEAD_STATE_K / kelvin(material.melting))
    return Melt(enthalpy, exergy)


def task_exergy_j(material: Material | None, flow: MaterialFlow, melt: Melt) -> float:
    """The least electricity that the task takes [J].

    Printing: db m + V dp, melting what becomes the part and pushing it through the nozzle. Cutting: k_c V, the
    specific cutting energy times the volume removed.
    """
    if material is None:
        return 0.0
    if material.heat_capacity_melt is not None:
        return flow.part_kg * (melt.exergy_j_per_kg + MELT_PRESSURE_PA / material.density)
    return (material.cutting_energy or 0.0) * (flow.fed_kg - flow.part_kg) / material.density


def exergy_ledger(
    electric_j: float,
    flow: MaterialFlow,
    material: Material | None,
    melt: Melt,
    ambient_c: float,
    heat: Sequence[HeatStream] = (),
    stored: Sequence[StoredHeat] = (),
) -> ExergyLedger:
    """The ledger of one run.

    `heat`: what is known to leave at a temperature of its own; all other heat leaves at the room's. `stored`: the
    heaters at the end of the run. Raises PredictionError (CANNOT_PRICE) where less energy is used than melting
    the material takes, or the balance does not close.
    """
    kept_j = flow.fed_kg * melt.enthalpy_j_per_kg + math.fsum(body.heat_j for body in stored)
    if kept_j > electric_j * (1.0 + CLOSED):
        raise PredictionError(
            ErrorCode.CANNOT_PRICE,
            f"{energy_text(electric_j)} of electricity are less than the {energy_text(kept_j)} in heaters and melt.",
            "Predict the job again; check material and heaters in the profiles.",
        )
    rest_j = electric_j - kept_j - math.fsum(stream.heat_j for stream in heat)
    streams = (*heat, HeatStream.at("the rest", rest_j, ambient_c))
    melt_entropy = (melt.enthalpy_j_per_kg - melt.exergy_j_per_kg) / DEAD_STATE_K
    produced = math.fsum((
        *(stream.entropy_j_per_k for stream in streams), *(body.entropy_j_per_k for body in stored),
        flow.fed_kg * melt_entropy,
    ))  # fmt: skip
    chemical = material.chemical_exergy if material else 0.0
    room_c = max(kelvin(ambient_c), DEAD_STATE_K)
    ledger = ExergyLedger(
        electric_j=electric_j,
        material_in_j=flow.fed_kg * chemical,
        part_j=flow.part_kg * chemical,
        rest_j=(flow.fed_kg - flow.part_kg) * chemical,
        melt_j=flow.fed_kg * melt.exergy_j_per_kg,
        heat=streams,
        stored_j=math.fsum(body.heat_j - DEAD_STATE_K * body.entropy_j_per_k for body in stored),
        destroyed_j=DEAD_STATE_K * produced,
        task_j=task_exergy_j(material, flow, melt),
        room_j=math.fsum(stream.heat_j for stream in streams) * (1.0 - DEAD_STATE_K / room_c),
    )
    if not abs(ledger.imbalance) <= CLOSED:
        raise PredictionError(
            ErrorCode.CANNOT_PRICE, f"the exergy ledger does not close by {ledger.imbalance:.1e}.", "Report this."
        )
    return ledger
