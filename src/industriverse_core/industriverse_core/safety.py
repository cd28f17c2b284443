"""The part of a cell description about people: sensors, zones, the machine's place, the formula's numbers.

The launch checks it with the whole description; the shield reads it from the same file. All places are on the floor in
the cell's frame [m].
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from industriverse_core.documents import (
    Document,
    Metres,
    MetresPerSecond,
    MetresPerSecond2,
    Ratio,
    Seconds,
    load_document,
)
from industriverse_core.errors import ErrorCode
from industriverse_core.frames import Pose
from industriverse_core.machine import MachineProfile
from industriverse_core.permit import PERMIT_PERIOD_S, PERMIT_VALID_S

QUEUE_S = 0.2  # of motion may lie in a controller when the permits end
MOST_SENSORS = 4  # SafetyState has room for eight sources

Place = tuple[Metres, Metres]


class Sensor(Document):
    """A camera or scanner that says where people are (topic `persons`). Its silence ends the permits."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="as in PersonsSeen.sensor")
    limit: Seconds = Field(default=0.3, ge=0.05, le=2.0, description="oldest sighting that is accepted")


class FloorZone(Document):
    """A polygon on the floor."""

    name: str = Field(min_length=1, max_length=32)
    kind: Literal["stop", "exclusion"] = Field(description="stop: the machine holds; exclusion: the stop is latched")
    corners: tuple[Place, ...] = Field(min_length=3, max_length=64)


class SeparationNumbers(Document):
    """Numbers of ISO/TS 15066:2016, 5.5.4; see shield_node.separation."""

    human_speed: MetresPerSecond = Field(default=1.6, gt=0, le=10, description="towards the machine (ISO 13855: 1.6)")
    reaction: Seconds = Field(default=0.7, gt=0, le=10, description="from a movement to the first braking, whole chain")
    deceleration: MetresPerSecond2 = Field(default=1.0, gt=0, le=100, description="of the slowest axis, as measured")
    intrusion: Metres = Field(default=0.0, ge=0, le=2, description="how far a body part reaches in before it is seen")
    human_uncertainty: Metres = Field(default=0.1, ge=0, le=2)
    machine_uncertainty: Metres = Field(default=0.01, ge=0, le=2)
    back_off: Ratio = Field(default=1.2, ge=1, le=5, description="distance to resume at, over that to stop at")


class Safety(Document):
    """People around one machine."""

    place: Place = Field(description="middle of the machine on the floor")
    reach: Metres = Field(gt=0, le=50, description="from there to the farthest point that a moving part reaches")
    sensors: tuple[Sensor, ...] = Field(min_length=1, max_length=MOST_SENSORS)
    separation: SeparationNumbers = SeparationNumbers()
    zones: tuple[FloorZone, ...] = Field(default=(), max_length=32)
    whole_space_seen: bool = Field(
        default=False,
        description="the sensors see every place from which the machine can be reached; only then does a hold for a "
        "person end by itself after more than the grace time",
    )
    longest_hold: Seconds = Field(default=600.0, ge=1, le=3600, description="a hold for a person latches after this")

    @model_validator(mode="after")
    def _possible(self) -> Safety:
        if len({sensor.name for sensor in self.sensors}) < len(self.sensors):
            raise ValueError("two sensors have the same name")
        least_s = max(sensor.limit for sensor in self.sensors) + PERMIT_PERIOD_S + PERMIT_VALID_S + QUEUE_S
        if self.separation.reaction < least_s - 1e-9:
            raise ValueError(
                f"separation.reaction is {self.separation.reaction:g} s; the oldest sighting, a tick, a permit's "
                f"validity and the controller's queue take up to {least_s:g} s"
            )
        return self


def base_pose(safety: Safety | None, profile: MachineProfile) -> Pose:
    """Where the machine's base lies in the cell: its axes' middle over the stated place; at the origin without one."""
    if safety is None:
        return Pose()
    x, y, _ = profile.kinematics.axes()
    return Pose((
        safety.place[0] - 0.5 * (x.minimum + x.maximum), safety.place[1] - 0.5 * (y.minimum + y.maximum), 0.0,
    ))  # fmt: skip


class _CellFile(Document):
    """What the shield reads of a cell description."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
    safety: Safety | None = None


def load_safety(path: Path) -> Safety | None:
    """The safety part of a cell description; None where it has none. Raises CoreError (BAD_CELL or the file's own)."""
    return load_document(path, _CellFile, ErrorCode.BAD_CELL).safety
