"""Dangerous edits of sound programs, one entry a kind, and the milling programs that some of them go into."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from industriverse_core.machine import Box, MachineProfile, Tool, load_machine
from shield_node.mutation.harm import words_of

Lines = list[str]
Edit = Callable[[Lines, random.Random], Lines | None]  # None = the program has no place for it


@dataclass(frozen=True)
class Kind:
    """One kind of edit. `by_construction`: it does harm wherever it stands. `warned`: a warning catches it."""

    edit: Edit
    by_construction: bool = False
    warned: bool = False


# --- the edits -------------------------------------------------------------------------------------------------


def _places(lines: Lines, test: Callable[[str], bool]) -> list[int]:
    return [index for index, line in enumerate(lines) if test(line.split(";")[0])]


def _moves(letters: str) -> Callable[[str], bool]:
    """Lines that are a G1 with all of these letters."""
    return lambda line: bool(re.match(r"G0?[01]\b", line)) and all(letter in words_of(line) for letter in letters)


def _set(line: str, letter: str, value: float) -> str:
    """The line with another number behind a letter."""
    code = line.split(";", 1)[0]
    return re.sub(rf"{letter}[-+]?[\d.]+", f"{letter}{value:.5f}".rstrip("0").rstrip("."), code, count=1)


def _replace(test: Callable[[str], bool], change: Callable[[str, random.Random], str], where: float = 0.0) -> Edit:
    """Change one line that passes the test, beyond a share `where` of the file."""

    def edit(lines: Lines, rng: random.Random) -> Lines | None:
        places = [place for place in _places(lines, test) if place >= where * len(lines)]
        if not places:
            return None
        place = rng.choice(places)
        return [*lines[:place], change(lines[place], rng), *lines[place + 1 :]]

    return edit


def _insert(make: Callable[[random.Random], str], first: float = 0.1, last: float = 0.9) -> Edit:
    """Insert lines before some line between two shares of the file."""

    def edit(lines: Lines, rng: random.Random) -> Lines | None:
        place = rng.randint(int(first * len(lines)), int(last * len(lines)))
        return [*lines[:place], *make(rng).split("\n"), *lines[place:]]

    return edit


def _remove(test: Callable[[str], bool], every: bool = True) -> Edit:
    """Remove the lines that pass the test; one of them, or every one."""

    def edit(lines: Lines, rng: random.Random) -> Lines | None:
        places = _places(lines, test)
        if not places:
            return None
        gone = set(places) if every else {rng.choice(places)}
        return [line for index, line in enumerate(lines) if index not in gone]

    return edit


def _starts(*codes: str) -> Callable[[str], bool]:
    return lambda line: bool(line.split()) and line.split()[0] in codes


def _switches_off(line: str) -> bool:
    return _starts("M104", "M140")(line) and words_of(line).get("S") == 0.0


def _times(letter: str, factor: float) -> Edit:
    """Multiply a letter on all its moves in a stretch of a third of the file or more."""

    def edit(lines: Lines, rng: random.Random) -> Lines | None:
        begin = rng.randint(0, int(0.6 * len(lines)))
        end = min(len(lines), begin + rng.randint(len(lines) // 3, len(lines)))
        out = list(lines)
        for index in range(begin, end):
            words = words_of(lines[index])
            if words.get("G") == 1 and letter in words and words.keys() & set("XY"):
                out[index] = _set(lines[index], letter, words[letter] * factor)
        return out if out != lines else None

    return edit


def _checksummed(lines: Lines, rng: random.Random) -> Lines | None:
    """Number all lines with checksums, and change one digit of one."""
    numbered = []
    for index, line in enumerate(code for code in (line.split(";")[0].strip() for line in lines) if code):
        body = f"N{index + 1} {line}"
        total = 0
        for byte in body.encode():
            total ^= byte
        numbered.append(f"{body}*{total}")
    place = rng.choice([index for index, line in enumerate(numbered) if re.search(r"\d", line.split(" ", 1)[1])])
    body, total = numbered[place].rsplit("*", 1)
    at = rng.choice([m.start() for m in re.finditer(r"\d", body)])
    digit = rng.choice([d for d in "0123456789" if d != body[at]])
    return [*numbered[:place], f"{body[:at]}{digit}{body[at + 1 :]}*{total}", *numbered[place + 1 :]]


def _lost_resets(lines: Lines, rng: random.Random) -> Lines | None:
    """No reset of E from some place on: harm where E is absolute."""
    if any(line.startswith("M83") for line in lines) or not any(line.startswith("M82") for line in lines):
        return None
    place = rng.randint(len(lines) // 10, len(lines) // 2)
    return lines[:place] + [line for line in lines[place:] if not line.startswith("G92 E")]


def _truncate(lines: Lines, rng: random.Random) -> Lines | None:
    return lines[: rng.randint(int(0.4 * len(lines)), int(0.9 * len(lines)))]


def _drop_z(lines: Lines, rng: random.Random) -> Lines | None:
    """The nozzle goes down into the part and stays there until the next layer."""
    places = [place for place in _places(lines, _moves("Z")) if place > 0.4 * len(lines)]
    if not places:
        return None
    place = rng.choice(places)
    z = words_of(lines[place])["Z"]
    changed = _set(lines[place], "Z", z * rng.uniform(0.05, 0.7))
    return [*lines[:place], changed, *lines[place + 1 :]]


def _far(line: str, rng: random.Random) -> str:
    letter = rng.choice([letter for letter in "XY" if letter in words_of(line)])
    return _set(line, letter, rng.choice([-1, 1]) * rng.uniform(260.0, 900.0))


def _hot(line: str, rng: random.Random) -> str:
    nozzle = line.startswith(("M104", "M109"))
    return _set(line, "S", float(rng.randint(305, 600) if nozzle else rng.randint(125, 400)))


def _ten_times(line: str, rng: random.Random) -> str:
    """A lost decimal point."""
    letter = rng.choice([letter for letter in "XY" if letter in words_of(line)])
    return _set(line, letter, words_of(line)[letter] * 10.0)


def _bent_arc(line: str, rng: random.Random) -> str:
    letter = rng.choice([letter for letter in "IJ" if letter in words_of(line)])
    return _set(line, letter, words_of(line)[letter] + rng.choice([-1, 1]) * rng.uniform(2.0, 40.0))


UNKNOWN = ("M7777", "G777", "M5566 S1", "G66 X1", "Q12", "M19999", "X!Y", "G1 X10 Y$5", "RUN_MACRO A=1", "G1X1Y1@3")
FORBIDDEN = ("M502", "M302 P1", "M302 S0", "M206 X-50", "M851 Z-5", "M112", "M211 S0", "M92 X800", "M500", "M301 P99")
HEATS = _starts("M104", "M109", "M140", "M190")


def _sets_heat(line: str) -> bool:
    return HEATS(line) and words_of(line).get("S", 0.0) > 0.0


PRINTER_KINDS: dict[str, Kind] = {
    "out of the envelope": Kind(_replace(_moves("XY"), _far)),
    "lost decimal point": Kind(_replace(_moves("XY"), _ten_times)),
    "Z below the bed": Kind(_insert(lambda r: f"G90\nG1 Z-{r.uniform(0.6, 9):.2f} F600")),
    "Z into the part": Kind(_drop_z),
    "overtemperature": Kind(_replace(_sets_heat, _hot)),
    "hot end switched off": Kind(_insert(lambda r: f"M104 S{r.choice([0, 60, 100, 140])}", 0.3, 0.8)),
    "removed homing": Kind(_remove(_starts("G28"))),
    "homing in the print": Kind(_insert(lambda r: r.choice(["G28", "G28 W", "G28 Z"]), 0.4, 0.9)),
    "motors off in the print": Kind(_insert(lambda r: r.choice(["M84", "M18"]))),
    "removed heating": Kind(_remove(lambda line: _starts("M104", "M109")(line) and _sets_heat(line))),
    "removed wait": Kind(_remove(_starts("M109"))),
    "huge E": Kind(_insert(lambda r: f"M83\nG1 E{r.uniform(40, 900):.1f} F600")),
    "huge E in a move": Kind(_insert(lambda r: f"M83\nG91\nG1 X0.1 E{r.uniform(40, 900):.1f} F600\nG90")),
    "flow times three": Kind(_times("E", 3.0), by_construction=True),
    "M221 times three": Kind(_insert(lambda r: f"M221 S{r.randint(300, 900)}", 0.1, 0.4)),
    "filament pulled out": Kind(_insert(lambda r: f"M83\nG1 E-{r.uniform(80, 900):.1f} F2000")),
    "M82 for M83": Kind(_insert(lambda r: "M82")),
    "lost G92 E0": Kind(_lost_resets),
    "heater left on": Kind(_remove(_switches_off), warned=True),
    "truncated": Kind(_truncate, warned=True),
    "feed zero": Kind(_insert(lambda r: "G1 F0")),
    "feed tiny": Kind(_insert(lambda r: f"G1 F{r.choice([0.001, 0.0001, 1e-6])}")),
    "dwell huge": Kind(_insert(lambda r: r.choice(["G4 S", "G4 P1000"]) + str(r.randint(1300, 90000)))),
    "unit switch": Kind(_insert(lambda r: "G20")),
    "G91 left on": Kind(_insert(lambda r: "G91")),
    "G92 shifts the axes": Kind(
        _insert(lambda r: f"G92 {r.choice('XY')}{r.choice([-1, 1]) * r.uniform(150, 400):.1f}")
    ),
    "G92 lowers Z": Kind(_insert(lambda r: f"G92 Z{r.uniform(20, 120):.1f}")),
    "unknown command": Kind(_insert(lambda r: r.choice(UNKNOWN)), by_construction=True),
    "forbidden command": Kind(_insert(lambda r: r.choice(FORBIDDEN)), by_construction=True),
    "second hot end": Kind(
        _insert(lambda r: r.choice(["M104 T1 S250", "T1", "M141 S60", "M109 T2 S200"])), by_construction=True
    ),
    "numbers overflow": Kind(
        _insert(lambda r: r.choice(["G1 X1e400", "G1 XNaN", "G1 Y" + "9" * 400, "G1 Einf"])), by_construction=True
    ),
    "planner limits": Kind(
        _insert(lambda r: r.choice(["M201 X9000", "M203 Z200", "M204 P30000", "M201 Y0"])), by_construction=True
    ),
    "checksum broken": Kind(_checksummed, by_construction=True),
    "arc radius broken": Kind(_replace(_starts("G2", "G3"), _bent_arc), by_construction=True),
}


# --- a mill ----------------------------------------------------------------------------------------------------

CLAMP = Box(
    name="clamp", x_minimum="130 mm", x_maximum="150 mm", y_minimum="20 mm", y_maximum="60 mm",
    z_minimum="-20 mm", z_maximum="15 mm",
)  # fmt: skip
TOOLS = (
    Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="2 mm", max_plunge="3 mm/s"),
    Tool(number=2, diameter="3 mm", cutting_length="10 mm", max_depth="1 mm", max_plunge="2 mm/s"),
)
STOCK = Box(
    name="plate", x_minimum="0 mm", x_maximum="120 mm", y_minimum="0 mm", y_maximum="80 mm",
    z_minimum="-12 mm", z_maximum="0 mm",
)  # fmt: skip


def mill_profile() -> MachineProfile:
    """The mill that ships, with tools, a plate and a clamp beside it."""
    return load_machine("grbl_mill").model_copy(update={"tools": TOOLS, "stock": STOCK, "keep_out": (CLAMP,)})


def mill_program(rng: random.Random) -> str:
    """Slots, a pocket and bored holes apart from each other, each in passes that the tool takes."""
    lines = ["G21 G90 G17 G94", "T1 M6", "M3 S10000", "G4 P2", "G0 Z5"]
    for row in range(rng.randint(2, 3)):
        x, y, long = rng.uniform(10, 20), 12.0 + 22.0 * row, rng.uniform(30, 50)
        lines += [f"G0 X{x:.3f} Y{y:.3f}", "G0 Z1"]
        for depth in range(1, rng.randint(2, 4)):
            lines += [f"G1 Z-{depth * 1.5:.2f} F150", f"G1 X{x + long:.3f} F400", f"G1 Y{y + 5:.3f}", f"G1 X{x:.3f}"]
            lines += [f"G1 Y{y:.3f}"]
        lines += ["G0 Z5"]
    for _ in range(rng.randint(2, 4)):
        x, y, radius = rng.uniform(85, 105), rng.uniform(12, 68), rng.uniform(1.5, 4.0)
        lines += [f"G0 X{x + radius:.3f} Y{y:.3f}", "G0 Z0.5", "G1 Z0 F150"]
        for depth in range(1, rng.randint(3, 6)):
            lines += [f"G3 X{x + radius:.3f} Y{y:.3f} Z-{depth}. I-{radius:.3f} J0 F240"]
        lines += [f"G3 X{x + radius:.3f} Y{y:.3f} I-{radius:.3f} J0", "G0 Z5"]
    return "\n".join([*lines, "M5", "G0 X0 Y0", "M2", ""])


def _plunges(line: str) -> bool:
    words = words_of(line)
    return words.get("G") == 1 and words.get("Z", 1.0) < 0.0


def _cuts(line: str) -> bool:
    words = words_of(line)
    return words.get("G") == 1 and bool(words.keys() & set("XY"))


MILL_KINDS: dict[str, Kind] = {
    "spindle not started": Kind(_remove(lambda line: line.startswith("M3"))),
    "spindle stopped": Kind(_insert(lambda r: "M5")),
    "spindle too fast": Kind(_replace(_starts("M3"), lambda line, r: f"M3 S{r.randint(12500, 90000)}")),
    "spindle left on": Kind(_remove(_starts("M5", "M2")), warned=True),
    "tool change without start": Kind(_insert(lambda r: "T1 M6")),
    "tool that is not there": Kind(_insert(lambda r: f"T{r.randint(3, 99)} M6")),
    "rapid at depth": Kind(_replace(_cuts, lambda line, r: line.replace("G1", "G0"))),
    "rapid plunge": Kind(_replace(_plunges, lambda line, r: line.replace("G1", "G0"))),
    "plunge too fast": Kind(_replace(_plunges, lambda line, r: _set(line, "F", r.uniform(400, 2000)))),
    "deep cut": Kind(_replace(_plunges, lambda line, r: _set(line, "Z", words_of(line)["Z"] - r.uniform(3, 8)))),
    "deep helix": Kind(
        _replace(_starts("G3"), lambda line, r: _set(line, "Z", words_of(line).get("Z", 0) - r.uniform(4, 9)))
    ),
    "lost retract": Kind(_remove(lambda line: line.startswith("G0 Z5"), every=False)),
    "out of the envelope": Kind(_replace(_cuts, _far)),
    "lost decimal point": Kind(_replace(_cuts, lambda line, r: re.sub(r"\.", "", line))),
    "into the clamp": Kind(_insert(lambda r: f"G0 X140 Y{r.uniform(22, 58):.1f} Z5")),
    "unit switch": Kind(_insert(lambda r: "G20")),
    "G91 left on": Kind(_insert(lambda r: "G91")),
    "G92 lowers Z": Kind(_insert(lambda r: f"G92 Z{r.uniform(5, 30):.1f}")),
    "G92 shifts the axes": Kind(_insert(lambda r: f"G92 {r.choice('XY')}{r.choice([-1, 1]) * r.uniform(90, 300):.1f}")),
    "feed zero": Kind(_insert(lambda r: "F0")),
    "dwell huge": Kind(_insert(lambda r: f"G4 P{r.randint(1300, 90000)}")),
    "plane switched": Kind(_insert(lambda r: r.choice(["G18", "G19"]), 0.05, 0.7)),
    "arc centre moved": Kind(_replace(_starts("G3"), _bent_arc)),
    "unknown command": Kind(_insert(lambda r: r.choice(["G777", "M1234", "G1 X$5", "Q5", "%&"])), by_construction=True),
    "beyond the standard": Kind(
        _insert(lambda r: r.choice(["G41 D1", "G33 K1", "o100 call", "#1=5", "G1 X[1+2]", "M98 P1", "G28"])),
        by_construction=True,
    ),
}  # fmt: skip
