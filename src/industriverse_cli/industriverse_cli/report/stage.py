"""The tool path's section: stage, legend and controls of the viewer; the scripts in web/ bring them to life."""

from __future__ import annotations

import base64

from industriverse_cli.report import charts
from industriverse_cli.report.formats import number_text
from industriverse_cli.report.markup import Markup, element, join, section
from industriverse_cli.report.model import Report
from industriverse_cli.report.picture import FEATURES
from industriverse_core.colours import RAMP
from industriverse_core.units import MM


def layer_noun(report: Report) -> str:
    """What a level of the work is called."""
    return "layer" if report.kind == "printer" else "level"


def toolpath(report: Report, picture: bytes | None) -> Markup | None:
    """The viewer, its controls and legend; a still picture on paper and without scripts."""
    path = report.path
    if not len(path.points_m):
        return None
    scale = path.energy_scale
    known = scale.high > scale.low
    noun = layer_noun(report)
    said = f"The {'part' if picture else 'tool path'} of {report.name}" + (
        f", coloured by {scale.title}" if known else ""
    )
    still = None
    if picture is not None:
        source = "data:image/png;base64," + base64.b64encode(picture).decode()
        still = element("img", src=source, alt=said, class_="still", width=1080, height=680)
    return section(
        "toolpath",
        "Tool path",
        element(
            "div",
            element("canvas", class_="view", tabindex="0", aria_label=f"{said}. Drag to turn, scroll to zoom."),
            still,
            element("div", class_="readout", hidden=True),
            element("p", class_="hint"),
            class_="stage",
        ),
        _legend(report, known),
        _controls(report, known, noun),
        note=_drawn(report),
    )


def _drawn(report: Report) -> str:
    path = report.path
    said = f"{path.moves:,} moves drawn with {len(path.points_m):,} points".replace(",", "\u202f")
    if path.joined > 1:
        said += f"; every {path.joined} neighbouring moves are joined into one"
    else:
        said += f", within {path.tolerance_m / MM:.2f} mm of the program's path"
        said += ", travel drawn straight" if path.straight_travel else ""
    if path.left_out:
        said += f"; {path.left_out} moves lie too far away to be drawn"
    return said + "."


def _legend(report: Report, known: bool) -> Markup:
    """What the colours mean: for paper and for the start; the script changes it with the choice of colour."""
    scale = report.path.energy_scale
    if known:
        ends = [element("span", f"{'≤ ' if end else '≥ '}{number_text(value)}") for end, value in
                ((True, scale.low), (False, scale.high))]  # fmt: skip
        inside = join(
            element("span", f"{scale.title.capitalize()} [{scale.unit}]", class_="name"),
            element("span", ends[0], charts.ramp_bar(RAMP), ends[1], class_="ramp"),
        )
    else:
        used = sorted({int(number) for number in report.path.feature[report.path.drawn]})
        inside = join([
            element(
                "span",
                element(
                    "svg", element("rect", width="100%", height="100%", rx=3, fill=FEATURES[number % len(FEATURES)]),
                    class_="patch", aria_hidden="true",
                ),
                report.features[number],
                class_="entry",
            )
            for number in used
            if number < len(report.features)
        ])  # fmt: skip
    return element("div", inside, class_="legend", id="legend")


def _controls(report: Report, known: bool, noun: str) -> Markup:
    """Real form controls, so that keyboard and screen reader work."""
    energy = report.path.energy_scale.unit
    choices = [("energy", f"energy [{energy}]", known), ("speed", "speed [mm/s]", report.outcome is not None),
               ("feature", "kind of move", True)]  # fmt: skip
    offered = [(value, text) for value, text, there in choices if there]
    radios = [
        element(
            "label",
            element("input", type="radio", name="colour", value=value, checked=number == 0),
            element("span", text),
        )
        for number, (value, text) in enumerate(offered)
    ]
    views = [element("button", text, type="button", data_view=view) for view, text in
             (("iso", "3D"), ("top", "Top"), ("front", "Front"))]  # fmt: skip
    last = max(0, len(report.layers.z_m) - 1)
    return element(
        "div",
        element("fieldset", element("legend", "Colour by"), radios, class_="choice"),
        element("div", views, class_="views", role="group", aria_label="View"),
        element("label", element("input", type="checkbox", id="travel"), "travel", class_="check"),
        element(
            "div",
            element("label", noun.capitalize(), for_="layer"),
            element("input", type="range", id="layer", min=0, max=last, value=last, step=1),
            element("output", id="layer-text", for_="layer"),
            element(
                "label", element("input", type="checkbox", id="single"), f"this {noun} only", class_="check",
                id="single-label",
            ),
            class_="slider",
        ),
        element(
            "div",
            element("button", "▶", type="button", id="play", aria_label="Play the program"),
            element(
                "input", type="range", id="progress", min=0, max=1000, value=1000, step="any",
                aria_label="Progress of the program",
            ),
            element("output", id="progress-text", for_="progress"),
            class_="slider",
        ),
        class_="controls",
    )  # fmt: skip
