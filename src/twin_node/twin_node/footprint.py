"""Thermal Footprint: the exergy that one good part costs, from the making of its material to its cooling on the table.

    TF = [B_D + B_lost] + [m_in c_mat - m_rec c_rec] + W_el (c_el - 1)

c is cumulative exergy. B_lost is the exergy of heat and of the warm part. The chemical exergy of chips is not in it:
the second layer has it already, in m_in c_mat. Runs that fail and parts that are scrapped add a layer of their own.

    Score = 100 clip(1 - ln(TF / TF_min) / ln(TF_ref95 / TF_min), 0, 1)

TF_min is the reversible minimum: the material in the part and the exergy of the task, no more. TF_ref95 / TF_min is a
property of the reference class, the same for large parts and small ones, so that nothing is gained by splitting a job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from industriverse_core.documents import Document, load_document, named_document
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.material import Material
from twin_node.exergy import ExergyLedger, MaterialFlow

REFERENCE_FOLDER = Path(__file__).parent / "data" / "references"


class ReferenceClass(Document):
    """What TF / TF_min is like for the parts of one machine class. Made by tools/footprint_reference.py."""

    id: str
    title: str
    machine_kind: Literal["printer", "mill"]
    ratio_05: float = Field(ge=1, description="5 % of the class have a smaller TF / TF_min")
    ratio_50: float = Field(ge=1)
    ratio_95: float = Field(gt=1, description="95 % of the class have a smaller TF / TF_min: scores 0")
    count: int = Field(ge=10, description="values that the percentiles are of")
    sources: dict[str, str]

    @model_validator(mode="after")
    def _ordered(self) -> ReferenceClass:
        if not self.ratio_05 <= self.ratio_50 <= self.ratio_95:
            raise ValueError("ratio_05, ratio_50 and ratio_95 must not fall")
        return self


@dataclass(frozen=True, slots=True)
class ThermalFootprint:
    """The exergy that one good part costs [J], by layer, and what would have been enough."""

    destroyed_j: float  # in the machine
    lost_j: float  # with heat and the warm part
    material_j: float  # making the material, less what is recovered
    electricity_j: float  # making the electricity
    failures_j: float  # all layers, of the runs that fail and the parts that are scrapped
    minimum_j: float  # the reversible minimum; NaN where the part is not known
    reference_ratio: float  # TF / TF_min of the worst 5 % of the reference class
    reference: str = ""

    @property
    def total_j(self) -> float:
        """The Thermal Footprint."""
        return self.destroyed_j + self.lost_j + self.material_j + self.electricity_j + self.failures_j

    @property
    def score(self) -> float | None:
        """0 to 100; None where nothing is made, and there is no minimum to compare with."""
        return score_of(self.total_j, self.minimum_j, self.reference_ratio) if self.minimum_j > 0.0 else None


def score_of(footprint_j: float, minimum_j: float, reference_ratio: float) -> float:
    """100 at the reversible minimum, 0 at the reference class's 95th percentile or above, logarithmic between.

    Raises ValueError unless footprint and minimum are positive and the ratio is greater than 1.
    """
    if not (footprint_j > 0.0 and minimum_j > 0.0 and reference_ratio > 1.0):
        raise ValueError(f"no score for {footprint_j} J over {minimum_j} J in a class of {reference_ratio}")
    share = math.log(footprint_j / minimum_j) / math.log(reference_ratio)
    return 100.0 * min(max(1.0 - share, 0.0), 1.0)


def thermal_footprint(
    ledger: ExergyLedger,
    flow: MaterialFlow,
    material: Material | None,
    grid_exergy: float,
    reference: ReferenceClass,
    failure_probability: float = 0.0,
    scrap_probability: float = 0.0,
) -> ThermalFootprint:
    """The footprint of one good part.

    A run breaks off with `failure_probability`, on average half done, and is repeated until one ends; a finished
    part is scrapped with `scrap_probability`. `grid_exergy`: cumulative exergy of a joule of electricity.
    Raises PredictionError (CANNOT_PRICE) for probabilities outside [0, 1).
    """
    for name, probability in (("failure", failure_probability), ("scrap", scrap_probability)):
        if not 0.0 <= probability < 1.0:
            raise PredictionError(
                ErrorCode.CANNOT_PRICE, f"the {name} probability is {probability}.", "Give one from 0 to below 1."
            )
    cumulative = material.cumulative_exergy_j_per_kg if material else 0.0
    recovery = material.recovery_exergy if material else 0.0
    layers = {
        "destroyed_j": ledger.destroyed_j,
        "lost_j": ledger.lost_j,
        "material_j": flow.fed_kg * cumulative - flow.recovered_kg * recovery,
        "electricity_j": ledger.electric_j * (grid_exergy - 1.0),
    }
    broken_off = 0.5 * failure_probability / (1.0 - failure_probability)
    runs = (1.0 + broken_off) / (1.0 - scrap_probability)
    return ThermalFootprint(
        **layers,
        failures_j=math.fsum(layers.values()) * (runs - 1.0),
        minimum_j=flow.part_kg * cumulative + ledger.task_j * grid_exergy,
        reference_ratio=reference.ratio_95,
        reference=reference.id,
    )


def combined(first: ThermalFootprint, second: ThermalFootprint) -> ThermalFootprint:
    """One part made in two jobs: footprints and minima add up. Raises ValueError for two classes."""
    if (first.reference, first.reference_ratio) != (second.reference, second.reference_ratio):
        raise ValueError(f"footprints of '{first.reference}' and '{second.reference}' are not one part's")
    names = ("destroyed_j", "lost_j", "material_j", "electricity_j", "failures_j", "minimum_j")
    sums = {name: getattr(first, name) + getattr(second, name) for name in names}
    return ThermalFootprint(**sums, reference_ratio=first.reference_ratio, reference=first.reference)


@lru_cache(maxsize=8)
def load_reference(name: str) -> ReferenceClass:
    """A reference class by name or by the path of a YAML file. Raises ProfileError (BAD_PROFILE)."""
    path = named_document(name, REFERENCE_FOLDER, "reference class", ErrorCode.BAD_PROFILE)
    return load_document(path, ReferenceClass, ErrorCode.BAD_PROFILE)


def reference_for(machine_kind: str) -> ReferenceClass:
    """The class that machines of a kind (MachineProfile.kind) are compared with."""
    return load_reference(f"desktop_{machine_kind}")
