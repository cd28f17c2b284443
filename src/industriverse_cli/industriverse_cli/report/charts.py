"""Charts as inline SVG. Shapes stretch with the page, text does not: positions are in percent, sizes in pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from industriverse_cli.report.formats import number_text, share_text, ticks, time_ticks
from industriverse_cli.report.markup import Markup, element
from industriverse_cli.report.model import Amount, Power, Quantity

FULL = 1000  # the stretched drawing's size in its own units
COLOURS = 8  # classes c0 ... c7 of the style sheet


def colour_class(number: int) -> str:
    """The style sheet's class of the nth thing in a chart and its legend."""
    return f"c{number % COLOURS}"


def percent(share: float) -> str:
    """A share as an SVG length."""
    return f"{100.0 * share:.2f}%"


def chip(number: int) -> Markup:
    """The patch of colour that stands beside a name."""
    return element("span", class_=f"chip {colour_class(number)}", aria_hidden="true")


def frame(
    kind: str, said: str, shapes: Sequence[Markup], x_labels: Sequence[tuple[float, str]],
    y_labels: Sequence[tuple[float, str]],
) -> Markup:  # fmt: skip
    """A chart with its axes. Labels are (share of the way, text); `said` is what a screen reader says."""
    grid = [element("line", class_="grid", x1=0, x2="100%", y1=percent(1 - y), y2=percent(1 - y)) for y, _ in y_labels]
    across = [
        element("text", text, x=percent(x), y="100%", dy=18, class_="x minor" if number % 2 else "x")
        for number, (x, text) in enumerate(x_labels)
    ]
    up = [element("text", text, x=-8, y=percent(1 - y), dy=4, class_="y") for y, text in y_labels]
    plot = element("svg", shapes, viewBox=f"0 0 {FULL} {FULL}", preserveAspectRatio="none", class_="plot")
    return element(
        "div",
        element("svg", grid, plot, across, up, class_="axes", role="img", aria_label=said),
        class_=f"chart {kind}",
        data_chart=kind,
    )


def _xy(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _steps(heights: np.ndarray, edges: np.ndarray) -> str:
    """Path commands along the tops of bins, from the left; heights and edges in drawing units."""
    return "".join(f"V{_xy(height)}H{_xy(right)}" for height, right in zip(heights, edges[1:], strict=True))


def power_chart(power: Power, order: Sequence[str]) -> Markup:
    """Stacked areas of mean power; steady consumers below. `order` gives each subsystem its colour."""
    top = max(float(power.total_w.max(initial=0.0)), 1e-9) * 1.05
    names = sorted(power.power_w, key=lambda name: float(np.std(power.power_w[name])))
    edges = power.edges_s / power.edges_s[-1] * FULL
    lower = np.zeros(len(power.edges_s) - 1)
    shapes = []
    for name in names:
        upper = lower + power.power_w[name]
        over, under = FULL * (1.0 - upper / top), FULL * (1.0 - lower / top)
        back = "".join(
            f"V{_xy(height)}H{_xy(left)}" for height, left in zip(under[::-1], edges[:-1][::-1], strict=True)
        )
        shapes.append(
            element("path", d=f"M0 {_xy(over[0])}{_steps(over, edges)}{back}Z", class_=colour_class(order.index(name)))
        )
        lower = upper
    said = f"Mean power over time, at most {number_text(top / 1.05)} W, stacked by subsystem"
    watts = [(value / top, f"{value:g} W") for value in ticks(0.0, top, 5)]
    return frame("power", said, shapes, time_labels(float(power.edges_s[-1])), watts)


def time_labels(end_s: float) -> list[tuple[float, str]]:
    """Labels of an axis of time."""
    values, unit, length = time_ticks(end_s, 9)
    return [(value / end_s, f"{value / length:g} {unit}") for value in values]


def temperature_chart(time_s: np.ndarray, celsius: Mapping[str, np.ndarray]) -> Markup:
    """One line for each temperature."""
    top = max(float(column.max()) for column in celsius.values()) * 1.08
    shapes = []
    for number, column in enumerate(celsius.values()):
        points = zip(time_s / time_s[-1] * FULL, FULL * (1.0 - np.maximum(column, 0.0) / top), strict=True)
        line = " ".join(f"{_xy(x)},{_xy(y)}" for x, y in points)
        shapes.append(element("polyline", points=line, class_=f"stroke t{number % COLOURS}"))
    said = "Temperatures over time: " + ", ".join(
        f"{name} at most {column.max():.0f} °C" for name, column in celsius.items()
    )
    degrees = [(value / top, f"{value:g} °C") for value in ticks(0.0, top, 4)]
    return frame("temperature", said, shapes, time_labels(float(time_s[-1])), degrees)


def layer_chart(energy_j: np.ndarray, z_m: np.ndarray, noun: str) -> Markup:
    """Joules of each layer as one stepped area."""
    count = len(energy_j)
    top = max(float(energy_j.max()), 1e-9) * 1.05
    edges = np.arange(count + 1) / count * FULL
    shape = element("path", d=f"M0 {FULL}{_steps(FULL * (1.0 - energy_j / top), edges)}V{FULL}Z", class_="area")
    marks = sorted({round(value) for value in ticks(0.0, count - 1.0, 9)} | {0}) if count > 1 else [0]
    x_labels = [((layer + 0.5) / count, f"{z_m[layer] * 1e3:.2f} mm") for layer in marks if layer < count]
    factor, unit = (1e3, "kJ") if top >= 1e3 else (1.0, "J")
    joules = [(value * factor / top, f"{value:g} {unit}") for value in ticks(0.0, top / factor, 5)]
    said = f"Energy of each of {count} {noun}s, at most {number_text(top / 1.05)} J"
    return frame("layers", said, [shape], x_labels, joules)


def bar(share: float, low: float, high: float, number: int) -> Markup:
    """A horizontal bar with its interval as a whisker; all three as shares of the full width."""
    whisker = None
    if high > low:
        whisker = element("line", x1=percent(low), x2=percent(high), y1="50%", y2="50%", class_="whisker")
    return element(
        "svg",
        element("rect", width=percent(share), height="100%", rx=3, class_=colour_class(number)),
        whisker,
        class_="bar",
        aria_hidden="true",
    )


def stacked_bar(parts: Sequence[Amount], said: str) -> Markup:
    """Amounts side by side in one bar; what is negative is not drawn."""
    total = sum(max(0.0, part.value) for part in parts)
    shapes, at = [], 0.0
    for number, part in enumerate(parts):
        share = max(0.0, part.value) / total if total > 0.0 else 0.0
        shapes.append(
            element(
                "rect", element("title", f"{part.title}: {share_text(share)}"), x=percent(at), width=percent(share),
                height="100%", class_=colour_class(number),
            )
        )  # fmt: skip
        at += share
    return element("svg", shapes, class_="stacked", role="img", aria_label=said)


def range_bar(each: Quantity, widest: float) -> Markup:
    """The 90 % interval on a scale of relative deviation, -widest to +widest, with the expected value in the middle."""
    low, high = (0.5 + 0.5 * (side / each.mean - 1.0) / widest for side in (each.low, each.high))
    return element(
        "svg",
        element("line", x1=0, x2="100%", y1="50%", y2="50%", class_="track"),
        element("rect", x=percent(low), width=percent(max(high - low, 0.004)), y=2, height=8, rx=4, class_="range"),
        element("rect", x="50%", width=2, y=0, height=12, transform="translate(-1 0)", class_="mean"),
        class_="rangebar",
        role="img",
        aria_label=f"90 % interval: {each.low / each.mean - 1.0:+.1%} to {each.high / each.mean - 1.0:+.1%}",
    )


def ramp_bar(colours: Sequence[str]) -> Markup:
    """The legend's strip of colours."""
    stops = [
        element("stop", offset=percent(number / (len(colours) - 1)), stop_color=colour)
        for number, colour in enumerate(colours)
    ]
    gradient = element("linearGradient", stops, id="ramp")
    return element(
        "svg", element("defs", gradient), element("rect", width="100%", height="100%", rx=3, fill="url(#ramp)"),
        class_="rampbar", aria_hidden="true",
    )  # fmt: skip
