"""Does a G-code text harm a machine? A small model of a printer and of a mill, independent of the reader and the gates.

It reads the text word by word, follows the tool in steps, and says the first harm that it sees: the frame is hit, a
heater is driven too hot, filament is pushed cold, piles up or cannot melt, the nozzle ploughs through the part, a
cutter is rapided or pushed into stock. Its criteria are set beyond any doubt, so that what it calls harm is harm; what
it lets pass may still be wrong. Lengths in mm, times in s.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from industriverse_core.machine import Box, MachineProfile

WORD = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))")
COMMENT = re.compile(r"\([^)]*\)|;.*")
FRAME_MM = 0.5  # beyond the end stops: the axis hits its frame
COLD_C = 150.0
COLD_MM = 2.0  # of filament
PILE_MM = 30.0  # of filament within PILE_RADIUS_MM
PILE_RADIUS_MM = 2.0
FLOW_TIMES = 1.5  # of the hot end's limit, for FLOW_S
FLOW_S = 3.0
LONG_S = 7200.0  # one move
PAUSE_S = 1200.0
PULLED_MM = 60.0  # of filament drawn back: out of the hot end
GROUND_MM = 150.0  # of filament driven to and fro without any that is new
PLOUGH_MM = 1.5  # below the part's top
OVERFILL_TIMES = 2.5  # bead area over what fits under a nozzle twice as wide as its hole
OVERFILL_MM = 1500.0  # of path


@dataclass
class Modal:
    """What both controllers remember."""

    at: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    unit: float = 1.0
    relative: bool = False
    feed: float = math.nan  # mm/s
    motion: int = -1
    plane: tuple[int, int, int] = (0, 1, 2)

    def target(self, words: dict[str, float]) -> list[float]:
        """The end of a move with these words."""
        end = list(self.at)
        for axis, letter in enumerate("XYZ"):
            if letter in words:
                value = words[letter] * self.unit
                end[axis] = self.at[axis] + value if self.relative else value + self.offset[axis]
        return end

    def points(self, motion: int, words: dict[str, float], step: float) -> list[list[float]]:
        """Points along a move, the last one its end; arcs by their centre."""
        end = self.target(words)
        if motion < 2 or not words.keys() & {"I", "J", "K"}:
            count = max(1, math.ceil(math.dist(self.at, end) / step)) if math.isfinite(math.dist(self.at, end)) else 1
            count = min(count, 100_000)
            return [[a + (b - a) * i / count for a, b in zip(self.at, end, strict=True)] for i in range(1, count + 1)]
        first, second, normal = self.plane
        centre = [self.at[axis] + words.get("IJK"[axis], 0.0) * self.unit for axis in range(3)]
        radius = math.hypot(self.at[first] - centre[first], self.at[second] - centre[second])
        start = math.atan2(self.at[second] - centre[second], self.at[first] - centre[first])
        stop = math.atan2(end[second] - centre[second], end[first] - centre[first])
        sweep = (stop - start) % math.tau if motion == 3 else -((start - stop) % math.tau)
        if abs(sweep) < 1e-6:
            sweep = math.tau if motion == 3 else -math.tau
        count = max(4, min(5000, math.ceil(abs(sweep) * radius / step)))
        points = []
        for i in range(1, count + 1):
            point = [0.0, 0.0, 0.0]
            angle = start + sweep * i / count
            point[first] = centre[first] + radius * math.cos(angle)
            point[second] = centre[second] + radius * math.sin(angle)
            point[normal] = self.at[normal] + (end[normal] - self.at[normal]) * i / count
            points.append(point)
        return [*points, end]


def words_of(line: str) -> dict[str, float]:
    """The words of a line; the last of a letter counts."""
    return {letter: float(number) for letter, number in WORD.findall(COMMENT.sub("", line).upper())}


def _outside(profile: MachineProfile, point: list[float]) -> bool:
    limits = [(axis.minimum * 1e3 - FRAME_MM, axis.maximum * 1e3 + FRAME_MM) for axis in profile.kinematics.axes()]
    return not all(low <= value <= high for value, (low, high) in zip(point, limits, strict=True))


class PrinterModel:
    """Runs a print and says its first harm, '' = none seen."""

    def __init__(self, profile: MachineProfile) -> None:
        self.profile, self.modal = profile, Modal()
        self.limits = [(a.minimum * 1e3 - FRAME_MM, a.maximum * 1e3 + FRAME_MM) for a in profile.kinematics.axes()]
        self.e_relative, self.e_at, self.fed, self.furthest = False, 0.0, 0.0, 0.0
        self.speed_scale = self.flow_scale = 1.0
        self.homed = [False] * 3
        self.targets = {"hot end": 0.0, "bed": 0.0}
        self.hot_c, self.cold_mm = 25.0, 0.0
        self.pile, self.pile_at = 0.0, (0.0, 0.0)
        self.melt_debt = self.overfull_mm = self.pulled = self.paused_s = self.ground = 0.0
        self.tops: dict[tuple[int, int], float] = {}
        extruder = profile.extruder
        self.area = math.pi / 4.0 * (extruder.filament_diameter * 1e3) ** 2
        self.nozzle, self.max_flow = extruder.nozzle_diameter * 1e3, extruder.max_flow * 1e9
        self.top_speed = [axis.max_speed * 1e3 for axis in profile.kinematics.axes()]

    def run(self, text: str) -> str:
        """The first harm of a whole text."""
        for line in text.splitlines():
            words = words_of(line)
            harm = self._line(words) if words else ""
            if harm:
                return harm
        hot = [name for name, target in self.targets.items() if target > 0.0]
        return f"ends with the {hot[0]} on" if hot and self.furthest > 5.0 else ""

    def _line(self, words: dict[str, float]) -> str:
        modal = self.modal
        if "G" in words and words["G"] in (0, 1, 2, 3):
            return self._move(int(words["G"]), words)
        match words.get("G"):
            case 4:
                return self._wait(words["S"] if "S" in words else words.get("P", 0.0) / 1e3)
            case 20 | 21:
                modal.unit = 25.4 if words["G"] == 20 else 1.0
            case 28:
                for axis in [i for i, letter in enumerate("XYZ") if letter in words] or range(3):
                    self.homed[axis], modal.at[axis], modal.offset[axis] = True, 0.0, 0.0
                    if axis == 2 and max(self.tops.values(), default=0.0) > PLOUGH_MM:
                        return "homes into the part"
            case 90 | 91:
                modal.relative = self.e_relative = words["G"] == 91
            case 92:
                for axis, letter in enumerate("XYZ"):
                    if letter in words:
                        modal.offset[axis] = modal.at[axis] - words[letter] * modal.unit
                self.e_at = words.get("E", self.e_at)
        return self._code(words) if "M" in words else ""

    def _code(self, words: dict[str, float]) -> str:
        match words["M"]:
            case 82 | 83:
                self.e_relative = words["M"] == 83
            case 104 | 109 | 140 | 190 if "S" in words or "R" in words:
                name = "hot end" if words["M"] in (104, 109) else "bed"
                self.targets[name] = target = words.get("S", words.get("R", 0.0))
                top = (self.profile.hotend if name == "hot end" else self.profile.bed).max_temperature
                if words["M"] == 109:
                    self.hot_c = target
                return f"drives the {name} to {target}" if target > top else ""
            case 220:
                self.speed_scale = words.get("S", 100.0) / 100.0
            case 221:
                self.flow_scale = words.get("S", 100.0) / 100.0
            case 84 | 18 if not words.keys() & set("SXYZE"):
                self.homed = [False] * 3
        return ""

    def _wait(self, seconds: float) -> str:
        self.paused_s += seconds
        self._warm(seconds)
        return "pauses hot for ever" if self.paused_s > PAUSE_S else ""

    def _warm(self, seconds: float) -> None:
        """The hot end: 3 K/s up, a time constant of 130 s down."""
        target = max(self.targets["hot end"], 25.0)
        if self.hot_c < target:
            self.hot_c = min(target, self.hot_c + 3.0 * seconds)
        else:
            self.hot_c = target + (self.hot_c - target) * math.exp(-min(seconds, 1e4) / 130.0)

    def _move(self, motion: int, words: dict[str, float]) -> str:
        modal = self.modal
        if "F" in words:
            modal.feed = words["F"] * modal.unit / 60.0
        push = 0.0
        if "E" in words:
            value = words["E"] * modal.unit
            push = value if self.e_relative else value - self.e_at
            self.e_at = value if not self.e_relative else self.e_at + value
        push *= self.flow_scale
        start = list(modal.at)
        points = modal.points(motion, words, 1.0)
        end, length = modal.target(words), 0.0
        for axis in range(3):
            if abs(end[axis] - start[axis]) > 1.0 and not self.homed[axis]:
                return "moves an axis that was not homed"
        for point in points:
            length += math.dist(start, point)
            start = point
            if not all(low <= value <= high for value, (low, high) in zip(point, self.limits, strict=True)):
                return f"hits the frame at {point}"
        begin, modal.at = modal.at, end
        if length == 0.0 and push == 0.0:
            return ""
        return self._speed(begin, points, length, push)

    def _speed(self, begin: list[float], points: list[list[float]], length: float, push: float) -> str:
        feed = self.modal.feed * self.speed_scale
        if not feed > 0.0:
            return "stands still for ever"
        for axis in range(3):
            part = abs(points[-1][axis] - begin[axis]) / length if length > 0 else 0.0
            feed = min(feed, self.top_speed[axis] / part) if part > 0.0 else feed
        seconds = (length if length > 0.0 else abs(push)) / feed
        if seconds > LONG_S:
            return "takes hours for one move"
        self.paused_s = 0.0
        self._warm(seconds)
        self.pulled = max(0.0, self.pulled - push)
        fresh = max(0.0, self.fed + push - self.furthest)
        self.fed += push
        self.ground = 0.0 if fresh > 0.01 else self.ground + abs(push)
        if self.ground > GROUND_MM:
            return "grinds filament to and fro"
        self.furthest = max(self.furthest, self.fed)
        if push > 0.0 and self.hot_c < COLD_C:
            self.cold_mm += push
            if self.cold_mm > COLD_MM:
                return f"pushes filament at {self.hot_c:.0f} degC"
        if self.pulled > PULLED_MM and push > 0.0 and length > 0.0:
            return "prints with the filament out of the hot end"
        return (
            self._pile(points[-1], length, fresh)
            or self._melt(seconds, length, fresh)
            or self._part(points, fresh, length)
        )

    def _pile(self, end: list[float], length: float, fresh: float) -> str:
        if math.dist(end[:2], self.pile_at) > PILE_RADIUS_MM or length > 2.0 * PILE_RADIUS_MM:
            self.pile, self.pile_at = 0.0, (end[0], end[1])
        if length <= 2.0 * PILE_RADIUS_MM and fresh * self.area > 4.0 * length * self.nozzle:
            self.pile += fresh
        return "piles filament up" if self.pile > PILE_MM else ""

    def _melt(self, seconds: float, length: float, fresh: float) -> str:
        if length > 0.0:
            excess = fresh * self.area - FLOW_TIMES * self.max_flow * seconds
            self.melt_debt = max(0.0, self.melt_debt + excess)
        return "grinds filament that cannot melt" if self.melt_debt > FLOW_S * 0.5 * self.max_flow else ""

    def _part(self, points: list[list[float]], fresh: float, length: float) -> str:
        """Coarse tops on cells of 1 mm; the room of a bead is what fits under the nozzle at this layer's height."""
        ploughs = 0
        for x, y, z in points:
            cell = (int(x // 1.0), int(y // 1.0))
            top = self.tops.get(cell, 0.0)
            ploughs = ploughs + 1 if top - z > PLOUGH_MM else 0
            if ploughs >= 2:
                return "ploughs through the part"
            if fresh > 0.0 and z > top:
                self.tops[cell] = z
        if fresh > 0.0 and length > 0.2:
            full = fresh * self.area / length > OVERFILL_TIMES * self.nozzle * self.nozzle
            self.overfull_mm = max(0.0, self.overfull_mm + (length if full else -length))
        return "pushes far more than has room" if self.overfull_mm > OVERFILL_MM else ""


class MillModel:
    """Runs a milling program through a block of cells of 1 mm and says its first harm, '' = none seen."""

    def __init__(self, profile: MachineProfile, stock: Box) -> None:
        self.profile, self.modal = profile, Modal()
        low, high = stock.bounds_m()
        self.low = [value * 1e3 for value in low]
        self.top = high[2] * 1e3
        shape = [math.ceil((high[axis] - low[axis]) * 1e3) for axis in (0, 1)]
        self.heights = np.full(shape, self.top)
        self.centres = np.meshgrid(*(np.arange(n) + 0.5 + self.low[i] for i, n in enumerate(shape)), indexing="ij")
        self.spindle, self.tool, self.ended = 0.0, profile.tools[0], False
        self.crash_mm3 = self.stall_mm3 = 0.0

    def run(self, text: str) -> str:
        """The first harm of a whole text."""
        for line in text.splitlines():
            harm = self._line(
                words_of(line), [float(g) for g in re.findall(r"G\s*(\d+\.?\d*)", COMMENT.sub("", line).upper())]
            )
            if harm or self.ended:
                return harm or ("ends with the spindle on" if self.spindle and not self.ended else "")
        return "ends with the spindle on" if self.spindle else ""

    def _line(self, words: dict[str, float], codes: list[float]) -> str:
        modal = self.modal
        for code in codes:
            match code:
                case 0 | 1 | 2 | 3:
                    modal.motion = int(code)
                case 17 | 18 | 19:
                    modal.plane = {17: (0, 1, 2), 18: (2, 0, 1), 19: (1, 2, 0)}[int(code)]
                case 20 | 21:
                    modal.unit = 25.4 if code == 20 else 1.0
                case 90 | 91:
                    modal.relative = code == 91
        match words.get("M"):
            case 3 | 4:
                self.spindle = words.get("S", 0.0)
            case 5 | 6 | 2 | 30:
                self.spindle = 0.0
                self.ended = words["M"] in (2, 30)
        if words.get("M") == 6 and "T" in words:
            found = self.profile.tool(int(words["T"]))
            if found is None:
                return "calls a tool that is not there"
            self.tool = found
        if self.spindle > self.profile.spindle.max_speed * 60.0 / math.tau * 1.01:
            return "turns the spindle too fast"
        if "F" in words:
            modal.feed = words["F"] * modal.unit / 60.0
        if 4 in codes:
            return "pauses for ever" if words.get("P", 0.0) > PAUSE_S else ""
        if 92 in codes:
            for axis, letter in enumerate("XYZ"):
                if letter in words:
                    modal.offset[axis] = modal.at[axis] - words[letter] * modal.unit
            return ""
        return self._move(modal.motion, words) if words.keys() & set("XYZ") and modal.motion >= 0 else ""

    def _move(self, motion: int, words: dict[str, float]) -> str:
        modal, removed, deepest = self.modal, 0.0, 0.0
        points = modal.points(motion, words, 0.5)
        if motion > 0 and not modal.feed > 0.0:
            return "stands still for ever"
        begin, length = modal.at, 0.0
        for point in points:
            if _outside(self.profile, point):
                return f"hits the frame at {point}"
            for box in self.profile.keep_out:
                low, high = box.bounds_m()
                if all(low[i] * 1e3 < point[i] < high[i] * 1e3 for i in range(3)):
                    return f"hits the {box.name}"
            length += math.dist(begin, point)
            begin = point
            under = (self.centres[0] - point[0]) ** 2 + (self.centres[1] - point[1]) ** 2 < (
                self.tool.diameter * 500
            ) ** 2
            depth = np.where(under, np.maximum(self.heights - point[2], 0.0), 0.0)
            removed, deepest = removed + float(depth.sum()), max(deepest, float(depth.max(initial=0.0)))
            self.heights = np.where(under, np.minimum(self.heights, point[2]), self.heights)
        fall = modal.at[2] - points[-1][2]
        modal.at = modal.target(words)
        if motion > 0 and length / modal.feed > LONG_S:
            return "takes hours for one move"
        return self._cut(motion, removed, deepest, fall / length * modal.feed if length > 0 and motion > 0 else 0.0)

    def _cut(self, motion: int, removed: float, deepest: float, fall: float) -> str:
        if removed > 20.0 and motion == 0:
            return "rapids into the stock"
        if removed > 5.0 and self.spindle == 0.0:
            return "pushes a standing tool into the stock"
        if removed > 5.0 and fall > 1.5 * self.tool.max_plunge * 1e3:
            return "plunges too fast"
        return "cuts far too deep" if removed > 5.0 and deepest > 1.5 * self.tool.max_depth * 1e3 else ""
