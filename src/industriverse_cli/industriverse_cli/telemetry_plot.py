"""Recorded rows as pictures: panels of lines, one for each unit, as SVG or in the terminal.

Many rows are drawn as the smallest and largest value of each step across, so that no peak is left out. Where rows are
missing the line is broken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from industriverse_cli.report.formats import number_text, ticks
from industriverse_cli.report.markup import Markup, element, join

DEFAULTS = {
    "telemetry": ("hotend_c", "hotend_target_c", "bed_c", "bed_target_c"),
    "joint_states": ("x_m", "y_m", "z_m"),
    "power": ("power_w",),
    "vibration": ("rms_m_s2",),
    "execution_trace": ("acknowledged", "executed"),
    "residual": ("power_expected", "power_measured"),
    "safety_state": ("machine_age_s", "twin_age_s", "conductor_age_s"),
    "job_state": ("progress",),
}
STEPS = 720  # across an SVG
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 200, 76, 18, 40, 30
GAP_PERIODS, LEAST_GAP_S = 5.0, 0.5
STYLE = """
svg { --ink: #1c2230; --faint: #6b7280; --grid: #e5e7eb; --back: #ffffff;
  --c0: #4f5bd5; --c1: #e07b39; --c2: #2a9d8f; --c3: #b8478f; --c4: #b38a14; --c5: #5aa5dd; background: var(--back); }
@media (prefers-color-scheme: dark) { svg { --ink: #e8eaf0; --faint: #9aa1ad; --grid: #2b3140; --back: #141821;
  --c0: #7f8cff; --c1: #f0924f; --c2: #3fc1b0; --c3: #d96bb1; --c4: #e6bf4f; --c5: #7dbff0; } }
text { font: 12px system-ui, "Segoe UI", sans-serif; fill: var(--faint); }
.title { font-size: 14px; font-weight: 600; fill: var(--ink); } .grid { stroke: var(--grid); }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
""" + " ".join(f".s{n} {{ stroke: var(--c{n}); }} .f{n} {{ fill: var(--c{n}); }}" for n in range(6))
TERMINAL_COLOURS = ("blue", "yellow", "green", "magenta", "cyan", "red")
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille character, by column and row
TERMINAL_ROWS = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines of one unit over ROS time [s]; `low` and `high` are the limits of its axis."""

    title: str
    unit: str
    time_s: np.ndarray
    lines: Mapping[str, np.ndarray]
    low: float
    high: float


def panels(name: str, rows: np.ndarray, units: Mapping[str, str], wanted: Sequence[str] = ()) -> list[Panel]:
    """Panels of one stream: of the columns that are wanted and it has, else of its usual ones."""
    stream = name.rpartition("/")[2]
    columns = [each for each in (wanted or DEFAULTS.get(stream, ())) if each in (rows.dtype.names or ())]
    columns = [each for each in columns if rows.dtype[each].kind in "fiu" and np.isfinite(rows[each]).any()]
    made = []
    for unit in dict.fromkeys(units[each] for each in columns):
        lines = {each: rows[each].astype(float) for each in columns if units[each] == unit}
        finite = np.concatenate([line[np.isfinite(line)] for line in lines.values()])
        low, high = _limits(float(finite.min()), float(finite.max()))
        made.append(Panel(name, unit.replace("degC", "°C"), rows["received_s"], lines, low, high))
    return made


def _limits(low: float, high: float) -> tuple[float, float]:
    """Round limits; zero is one where it is near."""
    if low > 0.0 and low < 0.5 * high:
        low = 0.0
    if high <= low:
        pad = 0.5 * abs(high) or 1.0
        return low - pad, high + pad
    pad = 0.06 * (high - low)
    return (low if low == 0.0 else low - pad), high + pad


def envelope(time_s: np.ndarray, values: np.ndarray, edges_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest finite value of each step between edges; NaN where there is none."""
    count = len(edges_s) - 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    kept = np.isfinite(values)
    span = float(edges_s[-1] - edges_s[0]) or 1.0
    step = np.clip(((time_s[kept] - edges_s[0]) / span * count).astype(int), 0, count - 1)
    np.minimum.at(low, step, values[kept])
    np.maximum.at(high, step, values[kept])
    empty = low > high
    low[empty] = high[empty] = np.nan
    return low, high


# --- SVG ---


def svg(shown: Sequence[Panel]) -> str:
    """A picture of its own; light or dark as its reader prefers."""
    begin, end = _span(shown)
    body = [_panel(panel, begin, end, number) for number, panel in enumerate(shown)]
    return "<?xml version='1.0' encoding='utf-8'?>\n" + element(
        "svg",
        element("style", Markup(STYLE)),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {len(shown) * HEIGHT}",
        width=WIDTH,
        height=len(shown) * HEIGHT,
        role="img",
        aria_label="; ".join(f"{panel.title}: {', '.join(panel.lines)} [{panel.unit}]" for panel in shown),
    )


def _span(shown: Sequence[Panel]) -> tuple[float, float]:
    begin = min(float(panel.time_s[0]) for panel in shown)
    end = max(float(panel.time_s[-1]) for panel in shown)
    return begin, max(end, begin + 1e-3)


def _panel(panel: Panel, begin: float, end: float, number: int) -> Markup:
    inner = HEIGHT - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + inner * (1.0 - (value - panel.low) / (panel.high - panel.low))

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_s - begin) / (end - begin)

    grid = []
    for value in ticks(panel.low, panel.high, 5):
        grid.append(
            element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y(value):.1f}", y2=f"{y(value):.1f}")
        )
        grid.append(element("text", f"{value:g}", x=LEFT - 8, y=f"{y(value) + 4:.1f}", text_anchor="end"))
    for at_s, text in time_labels(begin, end):
        anchor = "end" if at_s >= end - 0.02 * (end - begin) else "middle"
        grid.append(element("text", text, x=f"{x(at_s):.1f}", y=HEIGHT - BOTTOM + 18, text_anchor=anchor))
    lines = [
        element("path", class_=f"line s{index % 6}", d=_path(panel, values, x, y))
        for index, values in enumerate(panel.lines.values())
    ]
    return element("g", _head(panel), grid, lines, transform=f"translate(0 {number * HEIGHT})")


def _head(panel: Panel) -> Markup:
    unit = f" [{panel.unit}]" if panel.unit not in ("", "1") else ""
    said = [element("text", f"{panel.title}{unit}", class_="title", x=LEFT, y=22)]
    at = WIDTH - RIGHT
    for index, (name, values) in reversed(list(enumerate(panel.lines.items()))):
        text = f"{name} {_last(values)}"
        said.append(element("text", text, x=f"{at:.1f}", y=22, text_anchor="end"))
        at -= 6.4 * len(text) + 10
        said.append(element("circle", cx=f"{at:.1f}", cy=18, r=4, class_=f"f{index % 6}"))
        at -= 18
    return join(*said)


def _last(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    return number_text(float(finite[-1])) if len(finite) else "–"


def _path(panel: Panel, values: np.ndarray, x: object, y: object) -> str:
    """Through every row, or through the extremes of each step where there are many; broken at gaps."""
    time_s = panel.time_s
    kept = np.isfinite(values)
    time_s, values = time_s[kept], values[kept]
    if not len(time_s):
        return ""
    period_s = np.diff(time_s)
    limit_s = max(LEAST_GAP_S, GAP_PERIODS * float(np.median(period_s))) if len(period_s) else math.inf
    pieces = np.split(np.arange(len(time_s)), np.flatnonzero(period_s > limit_s) + 1)
    return "".join(_piece(time_s[piece], values[piece], x, y) for piece in pieces)


def _piece(time_s: np.ndarray, values: np.ndarray, x: object, y: object) -> str:
    if len(time_s) > 2 * STEPS:
        edges = np.linspace(time_s[0], time_s[-1], STEPS + 1)
        low, high = envelope(time_s, values, edges)
        middle = 0.5 * (edges[:-1] + edges[1:])
        some = np.isfinite(low)
        time_s = np.repeat(middle[some], 2)
        values = np.column_stack([low[some], high[some]]).ravel()
    points = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(time_s.tolist(), values.tolist(), strict=True)]  # type: ignore[operator]
    return "M" + "L".join(points if len(points) > 1 else points * 2)


def time_labels(begin: float, end: float) -> list[tuple[float, str]]:
    """(ROS time, text): how long before the end."""
    length = end - begin
    factor, unit = (1.0, "s") if length < 180.0 else (60.0, "min") if length < 3 * 3600.0 else (3600.0, "h")
    marks = [(end + value * factor, f"{value:g} {unit}".replace("-", "−")) for value in ticks(-length / factor, 0.0, 8)]
    last = time.strftime("%H:%M:%S", time.localtime(end)) if end > 1e8 else "now"
    return [(at, last if at >= end - 1e-6 * length else text) for at, text in marks]


# --- terminal ---


def terminal(panel: Panel, width: int) -> object:
    """The panel in braille dots, 2 x 4 to a character; a rich Text."""
    from rich.text import Text

    margin = 11
    across = max(20, width - margin - 1)
    cells = np.zeros((TERMINAL_ROWS, across), int)
    owner = np.zeros((TERMINAL_ROWS, across), int)
    edges = np.linspace(panel.time_s[0], max(panel.time_s[-1], panel.time_s[0] + 1e-3), 2 * across + 1)
    for index, values in enumerate(panel.lines.values()):
        low, high = (_dots(side, panel) for side in envelope(panel.time_s, values, edges))
        for column in np.flatnonzero(low >= 0):
            for dot in range(high[column], low[column] + 1):
                cells[dot // 4, column // 2] |= DOTS[column % 2][dot % 4]
                owner[dot // 4, column // 2] = index
    unit = f" [{panel.unit}]" if panel.unit not in ("", "1") else ""
    text = Text(f"{panel.title}{unit}  ", style="bold")
    for index, (name, values) in enumerate(panel.lines.items()):
        text.append(f"● {name} {_last(values)}  ", style=f"not bold {TERMINAL_COLOURS[index % 6]}")
    for row in range(TERMINAL_ROWS):
        share = 1.0 - (row + 0.5) / TERMINAL_ROWS
        text.append(f"\n{panel.low + share * (panel.high - panel.low):>{margin - 1}.4g} ", style="not bold dim")
        for column in range(across):
            colour = TERMINAL_COLOURS[owner[row, column] % 6]
            text.append(chr(0x2800 + cells[row, column]), style=f"not bold {colour}")
    length = panel.time_s[-1] - panel.time_s[0]
    text.append(f"\n{'':>{margin}}−{length:.0f} s".ljust(margin + across - 3) + "0 s\n", style="not bold dim")
    return text


def _dots(values: np.ndarray, panel: Panel) -> np.ndarray:
    """Rows of dots from the top; -1 where there is no value."""
    share = (np.nan_to_num(values, nan=panel.low) - panel.low) / (panel.high - panel.low)
    dots = np.clip((1.0 - share) * 4 * TERMINAL_ROWS, 0, 4 * TERMINAL_ROWS - 1).astype(int)
    return np.where(np.isfinite(values), dots, -1)
