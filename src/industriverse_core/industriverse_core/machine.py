"""Machine profiles: what a machine is, can do, and draws from the socket. YAML documents in data/machines/."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from industriverse_core.documents import (
    Celsius,
    CubicMetresPerSecond,
    Document,
    JoulesPerKelvin,
    Metres,
    MetresPerSecond,
    MetresPerSecond2,
    RadPerSecond,
    Ratio,
    Seconds,
    Watts,
    WattsPerKelvin,
    document_names,
    load_document,
    named_document,
)
from industriverse_core.errors import ErrorCode

MACHINE_FOLDER = Path(__file__).parent / "data" / "machines"
DEFAULT_MACHINE = "prusa_mk3s"


class Axis(Document):
    """One linear axis."""

    minimum: Metres = Field(description="lowest position that the gates allow")
    maximum: Metres
    max_speed: MetresPerSecond = Field(gt=0)
    max_acceleration: MetresPerSecond2 = Field(gt=0)
    jerk: MetresPerSecond = Field(default=0.0, ge=0, description="instantaneous speed change (classic jerk)")
    home: Metres = Field(default=0.0, description="position after homing")

    @model_validator(mode="after")
    def _ordered(self) -> Axis:
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be below maximum")
        return self


class Kinematics(Document):
    """Axes and how the controller's planner takes corners."""

    x: Axis
    y: Axis
    z: Axis
    planner: Literal["classic_jerk", "junction_deviation"]
    junction_deviation: Metres = Field(default=1e-5, gt=0)
    print_acceleration: MetresPerSecond2 = Field(gt=0)
    travel_acceleration: MetresPerSecond2 = Field(gt=0)
    rapid_speed: MetresPerSecond = Field(gt=0, description="speed of a move without a feed")
    homing_time: Seconds = Field(ge=0, description="typical time to home all axes")
    homing_time_spread: Ratio = Field(default=0.2, ge=0, description="relative standard deviation")
    leveling_time: Seconds = Field(default=0.0, ge=0)

    def axes(self) -> tuple[Axis, Axis, Axis]:
        """x, y, z."""
        return self.x, self.y, self.z


class Extruder(Document):
    """The filament drive and the hot end's melt limit."""

    filament_diameter: Metres = Field(gt=0)
    nozzle_diameter: Metres = Field(gt=0)
    max_speed: MetresPerSecond = Field(gt=0)
    max_acceleration: MetresPerSecond2 = Field(gt=0)
    retract_acceleration: MetresPerSecond2 = Field(gt=0)
    jerk: MetresPerSecond = Field(gt=0)
    max_flow: CubicMetresPerSecond = Field(gt=0, description="volume that the hot end can melt")
    max_stationary_extrusion: Metres = Field(gt=0, description="filament fed without motion before it is a blob")
    min_temperature: Celsius = Field(description="below it, extrusion is refused (cold extrusion)")


class Heater(Document):
    """A heater as one lumped node: C dT/dt = P duty - UA (T - T_ambient) - flow enthalpy."""

    max_temperature: Celsius = Field(gt=0)
    power: Watts = Field(gt=0, description="electric power at full duty")
    heat_capacity: JoulesPerKelvin = Field(gt=0)
    loss: WattsPerKelvin = Field(gt=0, description="UA to the room, fan off")
    fan_loss: WattsPerKelvin = Field(default=0.0, ge=0, description="added to the loss at full part-cooling fan")
    uncertainty: Ratio = Field(default=0.05, ge=0, le=1, description="relative standard deviation of power and loss")
    settle_time: Seconds = Field(default=0.0, ge=0, description="time in the window before a wait ends")
    window: Celsius = Field(default=1.0, gt=0, description="half-width of the wait's window")


class Power(Document):
    """Electric power of what is neither heater nor spindle."""

    electronics: Watts = Field(ge=0)
    motors_enabled: Watts = Field(default=0.0, ge=0, description="holding current, all motors")
    motion_per_speed: float = Field(default=0.0, ge=0, description="[W/(m/s)] added by path speed (friction)")
    fan: Watts = Field(default=0.0, ge=0, description="part-cooling fan at full speed")
    hotend_fan: Watts = Field(default=0.0, ge=0, description="always on while the hot end is warm")
    uncertainty: Ratio = Field(default=0.05, ge=0, le=1)


class Spindle(Document):
    """A milling spindle: P = idle + k v (Gutowski 2006)."""

    min_speed: RadPerSecond = Field(ge=0)
    max_speed: RadPerSecond = Field(gt=0)
    idle_power: Watts = Field(ge=0)


class Protocol(Document):
    """How the machine is spoken to."""

    family: Literal["marlin", "grbl"]
    baud: int = Field(gt=0)
    planner_blocks: int = Field(default=16, ge=2, description="motion blocks that the controller can hold")
    receive_buffer: int = Field(default=128, ge=32, description="[bytes]")


class Costs(Document):
    """What the machine costs while it runs; in the currency of the tariff."""

    machine_per_hour: float = Field(ge=0)
    labour_per_job: float = Field(default=0.0, ge=0, description="set-up and removal")
    scrap_probability: Ratio = Field(default=0.0, ge=0, lt=1)


class MachineProfile(Document):
    """One machine. `id` names it in messages; the axes are in program coordinates (bed or work origin)."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    title: str
    kind: Literal["printer", "mill"]
    kinematics: Kinematics
    protocol: Protocol
    power: Power
    costs: Costs
    ambient: Celsius = 25.0
    extruder: Extruder | None = None
    hotend: Heater | None = None
    bed: Heater | None = None
    spindle: Spindle | None = None
    sources: dict[str, str] = Field(default_factory=dict, description="where the numbers come from")

    @model_validator(mode="after")
    def _complete(self) -> MachineProfile:
        needed = ("extruder", "hotend") if self.kind == "printer" else ("spindle",)
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.kind} needs the section '{name}'")
        return self


@lru_cache(maxsize=32)
def load_machine(name: str) -> MachineProfile:
    """A profile by name or by the path of a YAML file. Raises ProfileError (UNKNOWN_MACHINE, BAD_PROFILE)."""
    path = named_document(name, MACHINE_FOLDER, "machine", ErrorCode.UNKNOWN_MACHINE)
    return load_document(path, MachineProfile, ErrorCode.BAD_PROFILE)


def machine_names() -> list[str]:
    """Profiles that ship."""
    return document_names(MACHINE_FOLDER)
