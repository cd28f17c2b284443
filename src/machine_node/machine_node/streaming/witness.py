"""Whether the tool is where the sent lines lead it: the only check of a controller without checksums.

A reported position must lie on the path of the pieces that were sent last, whenever it was taken; at rest it must be
the end of the last one. A line that was garbled into another valid line leads off the path. Where the controller says
which line it carries out, the path is that line's and what lies up to BEHIND_S before it. What this cannot see: a wrong
way that begins and ends between two reports, and one that is shorter than the tolerance.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.telemetry import Vector
from machine_node.streaming.pieces import Piece

PATH_TOLERANCE_M = 1e-4  # microsteps, the controller's own chords of arcs, digits of reports
REST_TOLERANCE_M = 5e-5
MOST_DOUBTS = 2
REMEMBERED = 64  # pieces: more than lie between a report and the newest line
BEHIND_S = 0.15  # by so much the steps may be behind the line that is told: GRBL computes 50 ms of them ahead


@dataclass(frozen=True, slots=True)
class _Leg:
    """A straight part of the path; `allowed_m` is how far from it the tool may be."""

    line: int
    begin_m: Vector
    end_m: Vector
    allowed_m: float
    duration_s: float


class Witness:
    """Judges reported positions. Passive until `start_from`.

    Args:
        time_scale: physics seconds in a steady second; durations of pieces are steady, the controller's are physics.

    Attributes:
        doubts: reports in a row that were off the path; a report itself can be garbled, so one is not believed.
    """

    def __init__(self, time_scale: float = 1.0) -> None:
        self._behind_s = BEHIND_S / time_scale
        self._path: deque[_Leg] = deque(maxlen=REMEMBERED)
        self._instruction = -1
        self.doubts = 0

    def start_from(self, position_m: Vector) -> None:
        """The tool is here."""
        self._path.append(_Leg(0, position_m, position_m, PATH_TOLERANCE_M, 0.0))

    def on_sent(self, piece: Piece, line: int = 0) -> None:
        """A piece was written as this line."""
        self._instruction = piece.instruction
        if self._path and piece.start_m != piece.end_m and not math.isnan(piece.end_m[0]):
            self._path.append(_Leg(line, piece.start_m, piece.end_m, tolerance_m(piece), piece.duration_s))

    def _near(self, line: int) -> list[_Leg]:
        """Where the tool may be while this line is carried out; 0 = not known."""
        legs: list[_Leg] = []
        behind_s = 0.0
        for leg in reversed(self._path):
            if 0 < line < leg.line:
                continue
            legs.append(leg)
            behind_s += leg.duration_s if leg.line != line else 0.0
            if line and behind_s > self._behind_s:
                break
        return legs or list(self._path)

    def judge(self, position_m: Vector, at_rest: bool, line: int = 0) -> MachineError | None:
        """Why the tool is not where it was sent, or None. The second doubt in a row counts.

        Args:
            position_m: as reported.
            at_rest: nothing moves and nothing is on its way.
            line: that is being carried out; 0 = not known.
        """
        if not self._path:
            return None
        end_m = self._path[-1].end_m
        if at_rest:
            off_m, allowed_m = math.dist(position_m, end_m), REST_TOLERANCE_M
        else:
            off_m, allowed_m = min(
                ((nearest(position_m, leg.begin_m, leg.end_m)[0], leg.allowed_m) for leg in self._near(line)),
                key=lambda found: found[0] - found[1],
            )
        self.doubts = 0 if off_m <= allowed_m else self.doubts + 1
        if self.doubts < MOST_DOUBTS:
            return None
        where = ", ".join(f"{letter} {value * 1e3:.3f}" for letter, value in zip("XYZ", position_m, strict=True))
        return MachineError(
            ErrorCode.POSITION_MISMATCH,
            f"the controller reports {where} mm, {off_m * 1e3:.3f} mm from the path that it was sent "
            f"(instruction {max(0, self._instruction)}; {allowed_m * 1e3:g} mm are allowed).",
            "Check the cable and the axes, then start the job again.",
        )


def tolerance_m(piece: Piece) -> float:
    """How far from the straight line between a piece's ends the tool may be on its way; an arc bulges."""
    bulge_m = 0.5 * math.dist(piece.start_m, piece.end_m) if piece.blocks < 0 else 0.0
    return PATH_TOLERANCE_M + bulge_m


def nearest(point: Vector, begin: Vector, end: Vector) -> tuple[float, float]:
    """(distance of a point from the straight line between two points, share of the line at the nearest place)."""
    along = [b - a for a, b in zip(begin, end, strict=True)]
    length_squared = sum(value * value for value in along)
    share = 0.0
    if length_squared > 0.0:
        share = sum((p - a) * d for p, a, d in zip(point, begin, along, strict=True)) / length_squared
    share = min(1.0, max(0.0, share))
    x, y, z = (a + share * d for a, d in zip(begin, along, strict=True))
    return math.dist(point, (x, y, z)), share
