"""Assembles the page: one HTML file that asks nothing of the network.

Its content security policy allows exactly the style sheet and the script that are in the package, by their SHA-256:
even markup that slipped through could not run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from industriverse_cli.report import sections, stage
from industriverse_cli.report.markup import Markup, data_block, element
from industriverse_cli.report.model import Report
from industriverse_cli.report.packing import pack
from industriverse_cli.report.picture import FEATURES, draw
from industriverse_core.colours import NO_COLOUR, RAMP

STYLES = ("page.css",)
SCRIPTS = ("matrix.js", "scene.js", "flat.js", "viewer.js", "charts.js")


def page_html(report: Report) -> str:
    """The whole page as text. Everything from the program, the profile or the material is escaped."""
    style, script = _texts(STYLES), _texts(SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{report.name} on {report.machine}"),
        element("style", Markup(style)),
    )
    picture = draw(report.path, report.width_m)
    body = element(
        "body",
        element("main", *_sections(report, picture)),
        sections.footer(report),
        data_block("data", _data(report)),
        element("script", Markup(script)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _sections(report: Report, picture: bytes | None) -> list[Markup | None]:
    """In reading order; findings come first where they refuse the program."""
    refused = report.verdict == "refuse"
    return [
        sections.header(report),
        sections.findings(report) if refused else None,
        sections.headline(report),
        stage.toolpath(report, picture),
        sections.power(report),
        sections.energy(report),
        sections.layers(report),
        sections.price(report),
        None if refused else sections.findings(report),
        sections.exergy(report),
        sections.prediction(report),
        sections.assumptions(report),
    ]


def _texts(names: tuple[str, ...]) -> str:
    folder = files("industriverse_cli.report") / "web"
    return "\n" + "\n".join((folder / name).read_text(encoding="utf-8").strip() for name in names) + "\n"


def _digest(text: str) -> str:
    """A content security policy's name for an inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(report: Report) -> dict[str, Any]:
    """What the scripts draw. Rounded to what can be seen."""
    path = report.path
    low, high = path.box_m(part=True)
    outcome = report.outcome
    return {
        "kind": report.kind,
        "path": pack(path),
        "part_m": [low.tolist(), high.tolist()],
        "bed_m": report.bed_m,
        "width_m": report.width_m,
        "layers_m": [round(float(z), 6) for z in report.layers.z_m],
        "features": report.features,
        "scales": {
            name: {"title": scale.title, "unit": scale.unit, "low": scale.low, "high": scale.high}
            for name, scale in (("energy", path.energy_scale), ("speed", path.speed_scale))
        },
        "ramp": RAMP,
        "feature_colours": FEATURES,
        "no_colour": NO_COLOUR,
        "findings": [
            {"vertex": vertex, "severity": each.severity.name.lower()}
            for each, vertex in zip(report.findings, report.finding_vertices, strict=True)
        ],
        "power": None
        if outcome is None
        else {
            "end_s": float(outcome.power.edges_s[-1]),
            "watts": {name: [round(float(w), 2) for w in column] for name, column in outcome.power.power_w.items()},
            "celsius": {name: [round(float(t), 1) for t in column] for name, column in outcome.temperatures_c.items()},
            "order": [each.key for each in outcome.subsystems],
            "vertex": outcome.power.vertex.tolist(),
        },
        "layer_energy": None
        if outcome is None
        else {
            "joules": [round(float(j), 2) for j in outcome.layers.energy_j],
            "mm3": [round(float(v) * 1e9, 3) for v in outcome.layers.volume_m3],
            "seconds": [round(float(s), 2) for s in outcome.layers.time_s],
        },
    }
