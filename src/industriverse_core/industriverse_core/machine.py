"""Machine profiles: what a machine is, can do, and draws from the socket. YAML documents in data/machines/."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from industriverse_core.controller import UNKNOWN, Controller, Firmware
from industriverse_core.documents import (
    Celsius,
    CubicMetresPerSecond,
    Document,
    Hertz,
    JoulesPerKelvin,
    Kilograms,
    Metres,
    MetresPerSecond,
    MetresPerSecond2,
    Newtons,
    RadPerSecond,
    Rate,
    Ratio,
    Seconds,
    Watts,
    WattsPerKelvin,
    document_names,
    load_document,
    named_document,
)
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.telemetry import Vector

MACHINE_FOLDER = Path(__file__).parent / "data" / "machines"
StoredName = Literal["G54", "G55", "G56", "G57", "G58", "G59", "G59.1", "G59.2", "G59.3", "G28", "G30"]
DEFAULT_MACHINE = "prusa_mk3s"
BOX_FIELDS = ("x_minimum", "y_minimum", "z_minimum", "x_maximum", "y_maximum", "z_maximum")
LARGEST_STOCK_MM = 1e5


class Axis(Document):
    """One linear axis."""

    minimum: Metres = Field(description="lowest position that the gates allow")
    maximum: Metres
    max_speed: MetresPerSecond = Field(gt=0)
    max_acceleration: MetresPerSecond2 = Field(gt=0)
    jerk: MetresPerSecond = Field(default=0.0, ge=0, description="instantaneous speed change (classic jerk)")
    home: Metres = Field(default=0.0, description="position after homing")
    moving_mass: Kilograms | None = Field(default=None, gt=0, description="all that its motors move, carried axes too")
    friction: Newtons | None = Field(default=None, ge=0, description="of guides and drive, against any motion")
    max_force: Newtons | None = Field(default=None, gt=0, description="that its motors give at standstill")
    resonance: Hertz | None = Field(default=None, gt=0, description="eigenfrequency of the moved mass on belt or screw")

    @model_validator(mode="after")
    def _ordered(self) -> Axis:
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be below maximum")
        return self


Structure = Literal["gantry", "moving_table", "bed_slinger", "corexy", "flying_corexy"]


class Kinematics(Document):
    """Axes and how the controller's planner takes corners."""

    x: Axis
    y: Axis
    z: Axis
    structure: Structure = Field(
        default="gantry",
        description="what carries what. gantry: y carries x carries z carries the tool; moving_table: y moves the "
        "table, x carries z; bed_slinger: y moves the bed, z carries x; corexy: z moves the bed, y carries x, both by "
        "two crossed belts; flying_corexy: z carries y carries x, crossed belts",
    )
    planner: Literal["classic_jerk", "junction_deviation", "square_corner"] = Field(
        description="how corners are taken: Marlin's jerk, GRBL's junction deviation, Klipper's square corner velocity"
    )
    junction_deviation: Metres = Field(default=1e-5, gt=0)
    square_corner_velocity: MetresPerSecond = Field(default=5e-3, gt=0, description="Klipper's setting of this name")
    minimum_cruise_ratio: Ratio = Field(default=0.5, ge=0, lt=1, description="Klipper's setting of this name")
    arc_resolution: Metres = Field(
        default=1e-3, gt=0, description="length of the segments that Marlin and Klipper make of arcs"
    )
    circle_segments: int = Field(default=24, ge=3, le=1000, description="fewest segments that Marlin makes of a circle")
    print_acceleration: MetresPerSecond2 = Field(gt=0)
    travel_acceleration: MetresPerSecond2 = Field(gt=0)
    rapid_speed: MetresPerSecond = Field(gt=0, description="speed of a move without a feed")
    homing_time: Seconds = Field(ge=0, description="typical time to home all axes")
    homing_time_spread: Ratio = Field(default=0.2, ge=0, description="relative standard deviation")
    leveling_time: Seconds = Field(default=0.0, ge=0)

    def axes(self) -> tuple[Axis, Axis, Axis]:
        """x, y, z."""
        return self.x, self.y, self.z


class Box(Document):
    """An axis-parallel box in program coordinates; a bound that is not given is infinite."""

    name: str = Field(min_length=1, max_length=64)
    x_minimum: Metres | None = None
    x_maximum: Metres | None = None
    y_minimum: Metres | None = None
    y_maximum: Metres | None = None
    z_minimum: Metres | None = None
    z_maximum: Metres | None = None

    def bounds_m(self) -> tuple[Vector, Vector]:
        """Lower and upper corner [m], infinite where no bound is given."""
        low = (self.x_minimum, self.y_minimum, self.z_minimum)
        high = (self.x_maximum, self.y_maximum, self.z_maximum)
        return (
            tuple(-math.inf if value is None else value for value in low),  # type: ignore[return-value]
            tuple(math.inf if value is None else value for value in high),
        )

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if not all(low < high for low, high in zip(*self.bounds_m(), strict=True)):
            raise ValueError("each minimum must be below its maximum")
        return self


class Blank(Box):
    """A mill's stock as a document of its own."""

    name: str = Field(default="stock", min_length=1, max_length=64)


class Position(Document):
    """A position that the controller has stored, in its own machine coordinates; an axis not given is not known."""

    x: Metres | None = None
    y: Metres | None = None
    z: Metres | None = None

    def vector_m(self) -> Vector:
        """x, y, z [m]; NaN = not known."""
        x, y, z = (math.nan if value is None else value for value in (self.x, self.y, self.z))
        return x, y, z


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
    max_retraction: Metres = Field(
        default=0.15, gt=0, description="filament drawn back from the nozzle's tip before the drive has lost it"
    )
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


class Enclosure(Document):
    """The air around the part as a lumped node, where the machine is enclosed."""

    heat_capacity: JoulesPerKelvin = Field(gt=0)
    loss: WattsPerKelvin = Field(gt=0, description="UA to the room")


class Power(Document):
    """Electric power of what is neither heater nor spindle."""

    electronics: Watts = Field(ge=0)
    motors_enabled: Watts = Field(default=0.0, ge=0, description="holding current, all motors")
    motion_per_speed: float = Field(default=0.0, ge=0, description="[W/(m/s)] added by path speed (friction)")
    fan: Watts = Field(default=0.0, ge=0, description="part-cooling fan at full speed")
    hotend_fan: Watts = Field(default=0.0, ge=0, description="always on while the hot end is warm")
    coolant: Watts = Field(default=0.0, ge=0, description="coolant pump, while flood or mist is on")
    supply: Watts | None = Field(default=None, gt=0, description="power that the machine's supply gives, all together")
    uncertainty: Ratio = Field(default=0.05, ge=0, le=1)


class Spindle(Document):
    """A milling spindle: P = idle + k v; k = the material's cutting energy, v = volume a second (Gutowski 2006)."""

    min_speed: RadPerSecond = Field(ge=0)
    max_speed: RadPerSecond = Field(gt=0)
    idle_power: Watts = Field(ge=0, description="turning at its highest speed, cutting nothing")
    max_power: Watts | None = Field(default=None, gt=0, description="electric power that it can draw")
    orients: bool = Field(default=False, description="it can stop at an angle (M19, and G87's back boring)")
    uncertainty: Ratio = Field(default=0.25, ge=0, le=1, description="relative standard deviation of cutting energy")


class Tool(Document):
    """One tool of a mill, by its number in the magazine."""

    number: int = Field(ge=0, le=9999)
    name: str = Field(default="", max_length=64)
    diameter: Metres = Field(gt=0)
    flutes: int = Field(default=2, ge=1, le=20)
    length: Metres | None = Field(default=None, description="length offset in the controller's tool table (G43)")
    cutting_length: Metres = Field(gt=0, description="length of its cutting edges")
    max_depth: Metres = Field(gt=0, description="deepest cut in one pass (axial engagement)")
    max_plunge: MetresPerSecond = Field(gt=0, description="fastest feed straight down into material")
    taylor_n: float = Field(default=0.25, gt=0, le=1, description="exponent n of Taylor's V T^n = C")
    taylor_c: MetresPerSecond = Field(default=10.0, gt=0, description="cutting speed at a tool life of one minute")
    price: Rate = Field(default=0.0, description="in the tariff's currency")


class Protocol(Document):
    """How the machine is spoken to."""

    family: Literal["marlin", "grbl", "klipper"]
    baud: int = Field(gt=0)
    planner_blocks: int = Field(default=16, ge=2, description="motion blocks that the controller can hold")
    receive_buffer: int = Field(default=128, ge=32, description="[bytes]")
    firmware: Firmware = Field(
        default="prusa",
        description="whose M204 S T it reads: T is the retraction's acceleration (prusa) or travel's (marlin_2)",
    )


class Failure(Document):
    """One way in which a run breaks off before its end. A run breaks off in at most one way."""

    name: str = Field(min_length=1, max_length=64)
    probability: Ratio = Field(gt=0, lt=1, description="that a run breaks off in this way")
    repair: Rate = Field(default=0.0, description="what it costs beside the run itself, in the currency")


class Costs(Document):
    """What the machine costs while it runs; in the currency of the tariff."""

    machine_per_hour: Rate
    labour_per_job: Rate = Field(default=0.0, description="set-up and removal")
    labour_time: Seconds = Field(default=0.0, ge=0, le=1e6, description="set-up and removal; the machine waits")
    labour_per_hour: Rate = Field(default=0.0, description="of labour_time, beside labour_per_job")
    scrap_probability: Ratio = Field(default=0.0, ge=0, lt=1, description="that a finished part is not good")
    failures: tuple[Failure, ...] = Field(default=(), description="ways in which a run breaks off; any moment is alike")

    @property
    def failure_probability(self) -> float:
        """Probability that a run breaks off."""
        return math.fsum(failure.probability for failure in self.failures)

    @model_validator(mode="after")
    def _some_runs_end(self) -> Costs:
        if self.failure_probability >= 1.0:
            raise ValueError("the probabilities of the failures must sum to less than 1")
        return self


class MachineProfile(Document):
    """One machine. `id` names it in messages; the axes are in program coordinates (bed or work origin)."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    title: str
    manufacturer: str = Field(default="", max_length=128, description="as on the machine's nameplate")
    serial_number: str = Field(default="", max_length=128, description="of this one machine, as on its nameplate")
    kind: Literal["printer", "mill"]
    kinematics: Kinematics
    protocol: Protocol
    power: Power
    costs: Costs
    ambient: Celsius = 25.0
    extruder: Extruder | None = None
    hotend: Heater | None = None
    bed: Heater | None = None
    enclosure: Enclosure | None = None
    spindle: Spindle | None = None
    tools: tuple[Tool, ...] = ()
    keep_out: tuple[Box, ...] = Field(
        default=(), description="volumes that the tool never enters: clips, clamps, probe"
    )
    stock: Box | None = Field(default=None, description="the blank of a mill's usual set-up; a job may name another")
    fan_numbers: tuple[int, ...] = Field(default=(0,), description="fans that a program may switch (M106 P)")
    stored_positions: dict[StoredName, Position] = Field(
        default_factory=dict,
        description="what the controller has stored ($# of GRBL): origins of work systems, positions of G28 and G30; "
        "program coordinates count from G54. What is not given is not known, and a line that needs it is refused",
    )
    sources: dict[str, str] = Field(default_factory=dict, description="where the numbers come from")

    @model_validator(mode="after")
    def _complete(self) -> MachineProfile:
        needed = ("extruder", "hotend") if self.kind == "printer" else ("spindle",)
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.kind} needs the section '{name}'")
        numbers = [tool.number for tool in self.tools]
        if len(set(numbers)) < len(numbers):
            raise ValueError("two tools have the same number")
        return self

    @property
    def controller(self) -> Controller:
        """What reading a G-code text for this machine depends on."""
        positions: dict[str, Vector] = {name: each.vector_m() for name, each in self.stored_positions.items()}
        g28_m, g30_m = (positions.pop(name, UNKNOWN) for name in ("G28", "G30"))
        lengths = {tool.number: tool.length for tool in self.tools if tool.length is not None}
        return Controller(positions, g28_m, g30_m, self.protocol.firmware, lengths)

    def tool(self, number: int) -> Tool | None:
        """The tool with this number; None where the magazine has none."""
        return next((tool for tool in self.tools if tool.number == number), None)


@lru_cache(maxsize=32)
def load_machine(name: str) -> MachineProfile:
    """A profile by name or by the path of a YAML file. Raises ProfileError (UNKNOWN_MACHINE, BAD_PROFILE)."""
    path = named_document(name, MACHINE_FOLDER, "machine", ErrorCode.UNKNOWN_MACHINE)
    return load_document(path, MachineProfile, ErrorCode.BAD_PROFILE)


def machine_names() -> list[str]:
    """Profiles that ship."""
    return document_names(MACHINE_FOLDER)


def with_stock(profile: MachineProfile, stock: str, name: str = "stock") -> MachineProfile:
    """The machine with another blank on its table.

    Args:
        stock: two corners in mm, x0,y0,z0,x1,y1,z1, or the path of a YAML file; "" = the profile's.
        name: what messages call it.
    Raises InputError (USAGE) or ProfileError (BAD_PROFILE).
    """
    if not stock:
        return profile
    if profile.kind != "mill":
        raise InputError(
            ErrorCode.USAGE, f"{name}: {profile.id} is a {profile.kind}, which cuts nothing.", f"Leave {name} out."
        )
    if stock.endswith((".yaml", ".yml")):
        blank = load_document(Path(stock), Blank, ErrorCode.BAD_PROFILE)
    else:
        blank = Blank.model_validate(dict(zip(BOX_FIELDS, _corners_mm(stock, name), strict=True)))
    return profile.model_copy(update={"stock": blank})


def _corners_mm(stock: str, name: str) -> list[str]:
    """Six lengths of a box, checked, with their unit."""
    try:
        numbers = [float(word) for word in stock.split(",")]
    except ValueError:
        numbers = []
    low, high = numbers[:3], numbers[3:]
    is_box = len(numbers) == len(BOX_FIELDS) and all(a < b for a, b in zip(low, high, strict=True))
    if not is_box or not all(abs(number) <= LARGEST_STOCK_MM for number in numbers):
        raise InputError(
            ErrorCode.USAGE,
            f"{name}: '{stock[:60]}' is no box; six numbers in mm are needed, x0,y0,z0,x1,y1,z1, each of the first "
            f"three smaller than its partner, at most {LARGEST_STOCK_MM:g}.",
            "Write the lower and the upper corner, as 0,0,-10,80,60,0, or name a YAML file.",
        )
    return [f"{number!r} mm" for number in numbers]
