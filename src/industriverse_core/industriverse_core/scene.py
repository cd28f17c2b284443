"""What people see of a cell in three dimensions: bundles of lines, solids and texts in SI, each in a frame.

A scene is a tuple of markers. Two markers with the same namespace and number are the same thing at two times: the
later one replaces the earlier. Markers with arrays are compared by identity, so what has not changed is kept, not made
anew: `changes` then finds what has to be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from industriverse_core.colours import rgb
from industriverse_core.telemetry import Vector

Colour = tuple[float, float, float, float]  # red, green, blue, alpha; 0..1
Key = tuple[str, int]
EDGES = ((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7))


class Shape(IntEnum):
    """Of solids; values as the types of visualization_msgs/Marker."""

    BOX = 6  # CUBE_LIST
    BALL = 7  # SPHERE_LIST


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """n straight pieces.

    Attributes:
        points_m: (2n, 3); each pair is one piece.
        colours: (2n, 4), or (1, 4) = one for all.
        width_m: of the line.
    """

    namespace: str
    number: int
    frame: str
    points_m: np.ndarray
    colours: np.ndarray
    width_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Solids:
    """n boxes or balls of one size.

    Attributes:
        centres_m: (n, 3).
        size_m: along x, y, z.
        colours: (n, 4), or (1, 4) = one for all.
    """

    namespace: str
    number: int
    frame: str
    shape: Shape
    centres_m: np.ndarray
    size_m: Vector
    colours: np.ndarray


@dataclass(frozen=True, slots=True)
class Text:
    """A text that faces whoever looks; `height_m` is that of a capital letter, `position_m` the text's middle."""

    namespace: str
    number: int
    frame: str
    position_m: Vector
    text: str
    height_m: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing (any more) under this namespace and number."""

    namespace: str
    number: int


Marker = Lines | Solids | Text | Removed
Scene = tuple[Marker, ...]


def key_of(marker: Marker) -> Key:
    """What makes two markers the same thing."""
    return marker.namespace, marker.number


def changes(shown: Mapping[Key, Marker], scene: Iterable[Marker]) -> Scene:
    """The markers of a scene that are not shown like this already."""
    return tuple(marker for marker in scene if shown.get(key_of(marker)) != marker)


def colour_of(text: str, alpha: float = 1.0) -> Colour:
    """A colour written as '#fbd24a'."""
    red, green, blue = (rgb((text,))[0] / 255.0).tolist()
    return red, green, blue, alpha


def one_colour(colour: Colour) -> np.ndarray:
    """A colour for all vertices of a marker, (1, 4)."""
    return np.array([colour], np.float32)


def box_edges(low_m: Vector, high_m: Vector) -> np.ndarray:
    """The twelve edges of an axis-parallel box as pairs of points, (24, 3)."""
    ends = np.array([low_m, high_m])
    corners = np.array([[ends[x, 0], ends[y, 1], ends[z, 2]] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    return np.asarray(corners[np.array(EDGES).ravel()])


def loop(corners_m: np.ndarray) -> np.ndarray:
    """The sides of a polygon with n corners (n, 3) as pairs of points, (2n, 3)."""
    return np.stack([corners_m, np.roll(corners_m, -1, axis=0)], axis=1).reshape(-1, 3)
