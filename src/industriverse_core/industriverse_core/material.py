"""Materials with sourced constants. YAML documents in data/materials/; docs/materials in the file itself."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from industriverse_core.documents import (
    Celsius,
    Document,
    JoulesPerCubicMetre,
    JoulesPerKg,
    JoulesPerKgKelvin,
    KgPerCubicMetre,
    Rate,
    Ratio,
    document_names,
    load_document,
    named_document,
)
from industriverse_core.errors import ErrorCode, ProfileError

MATERIAL_FOLDER = Path(__file__).parent / "data" / "materials"
DEFAULT_MATERIALS = {"printer": "PLA", "mill": "Al6061"}  # where neither the program nor a person names one


class Material(Document):
    """One material. Every number has an entry in `sources`: V read at the source, K known, C computed."""

    id: str = Field(pattern=r"^[A-Z][A-Za-z0-9_]{0,31}$")
    kind: Literal["polymer", "metal"]
    density: KgPerCubicMetre = Field(gt=0)
    heat_capacity_solid: JoulesPerKgKelvin = Field(gt=0)
    heat_capacity_melt: JoulesPerKgKelvin | None = Field(default=None, gt=0)
    softening: Celsius = Field(description="glass transition (polymer) or melting (metal)")
    nozzle_min: Celsius | None = None
    nozzle_max: Celsius | None = None
    bed_max: Celsius | None = None
    melting: Celsius | None = Field(default=None, description="of the crystalline share of a polymer")
    fusion_enthalpy: JoulesPerKg = Field(default=0.0, ge=0, description="heat of fusion times crystalline share")
    bed_hold: Celsius | None = Field(default=None, description="bed that holds the part once the first layers stand")
    chemical_exergy: JoulesPerKg = Field(gt=0)
    cumulative_exergy: JoulesPerKg | None = Field(
        default=None, gt=0, description="exergy that making the material took; default: its chemical exergy, the least"
    )
    recovery_exergy: JoulesPerKg = Field(default=0.0, ge=0, description="credit for what is recovered")
    recovered_share: Ratio = Field(default=0.0, ge=0, le=1, description="of the material fed that is not in the part")
    cutting_energy: JoulesPerCubicMetre | None = Field(
        default=None, gt=0, description="electric energy for each volume that a mill removes, above its idle power"
    )
    carbon_kg_per_kg: Rate = Field(description="[kg CO2e/kg]")
    price_per_kg: Rate = Field(description="in the tariff's currency")
    recovery_price_per_kg: Rate = Field(default=0.0, description="paid for what is recovered")
    sources: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Material:
        if self.fusion_enthalpy > 0.0 and self.melting is None:
            raise ValueError("fusion_enthalpy needs melting, the temperature at which it is taken up")
        if self.recovery_exergy > self.cumulative_exergy_j_per_kg:
            raise ValueError("recovery_exergy must not exceed cumulative_exergy")
        if self.recovery_price_per_kg > self.price_per_kg:
            raise ValueError("recovery_price_per_kg must not exceed price_per_kg")
        return self

    @property
    def cumulative_exergy_j_per_kg(self) -> float:
        """Exergy [J/kg] that making the material took."""
        return self.chemical_exergy if self.cumulative_exergy is None else self.cumulative_exergy

    def print_enthalpy_j_per_kg(self, nozzle_c: float, ambient_c: float) -> float:
        """Heat [J/kg] to bring filament from room to nozzle temperature: solid up to softening, melt above."""
        if self.heat_capacity_melt is None:
            raise ValueError(f"{self.id} is not printed")
        solid = self.heat_capacity_solid * (min(nozzle_c, self.softening) - ambient_c)
        return solid + self.heat_capacity_melt * max(0.0, nozzle_c - self.softening)


@lru_cache(maxsize=32)
def load_material(name: str) -> Material:
    """A material by name (any case) or by the path of a YAML file. Raises ProfileError."""
    shipped = {known.lower(): known for known in material_names()}
    path = named_document(shipped.get(name.lower(), name), MATERIAL_FOLDER, "material", ErrorCode.UNKNOWN_MATERIAL)
    return load_document(path, Material, ErrorCode.BAD_MATERIAL)


def single_material(named: str) -> str:
    """The one name in what a slicer or a person wrote; slicers write one for each extruder, as in 'PLA;PLA'.

    "" where none is named. Raises ProfileError (UNKNOWN_MATERIAL) when they differ.
    """
    found = [part.strip() for part in re.split(r"[;,]", named) if part.strip()]
    if len({name.lower() for name in found}) > 1:
        raise ProfileError(
            ErrorCode.UNKNOWN_MATERIAL,
            f"'{named}' names several materials; a program is made of one.",
            "Slice the parts of each material into a program of their own, or name one material.",
        )
    return found[0] if found else ""


def resolve_material(named: str, kind: str) -> Material:
    """The material that is meant, for a machine of this kind (MachineProfile.kind); its usual one where none is named.

    Every room decides with this function: gates, prediction and price are about the same material.
    Raises ProfileError for an unknown material and for several different ones.
    """
    return load_material(single_material(named) or DEFAULT_MATERIALS[kind])


def material_names() -> list[str]:
    """Materials that ship."""
    return document_names(MATERIAL_FOLDER)
