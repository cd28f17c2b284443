"""Small real programs: stretches of the examples, and what the twin expects of them."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from industriverse_core.gcode import read_gcode
from industriverse_core.machine import MachineProfile
from industriverse_core.material import resolve_material
from tests.campaign.rig import Job
from twin_node.timeline import build_timeline

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTS = ("washer_pla", "washer_petg", "cable_clip_pla", "cable_clip_petg")
MOTION_ONLY = "motion_square"
LAYER = ";LAYER_CHANGE"
MOST_LAYERS = 5
TARGET_K = 10.0  # by which targets are moved


@cache
def _layers(name: str) -> tuple[str, tuple[str, ...]]:
    """The beginning of an example up to its first layer, and its layers."""
    beginning, *layers = (EXAMPLES / f"{name}.gcode").read_text().split(LAYER)
    return beginning, tuple(layers)


def _moved(text: str, code: str, shift_k: float) -> str:
    """Targets other than 0 of these commands, shifted."""
    return re.sub(
        rf"^({code} S)([1-9]\d*)", lambda found: f"{found[1]}{float(found[2]) + shift_k:.0f}", text, flags=re.MULTILINE
    )


def small_program(draw: random.Random, printing: bool = False) -> tuple[str, str]:
    """(name, G-code) of a short piece of an example with targets of its own; now and then motion alone."""
    if draw.random() < 0.1 and not printing:
        return MOTION_ONLY, (EXAMPLES / f"{MOTION_ONLY}.gcode").read_text()
    name = draw.choice(PRINTS)
    beginning, layers = _layers(name)
    count = draw.randint(2, MOST_LAYERS)
    first = draw.randint(0, len(layers) - count)
    text = beginning + LAYER + LAYER.join(layers[first : first + count])
    text = _moved(text, "M10[49]", draw.uniform(-TARGET_K, TARGET_K))
    return f"{name}_{first}_{count}", _moved(text, "M1[49]0", draw.uniform(-TARGET_K, TARGET_K))


def small_job(profile: MachineProfile, draw: random.Random, printing: bool = False) -> Job:
    """Drawn by chance."""
    name, text = small_program(draw, printing)
    program = read_gcode(text.encode(), name, "marlin", profile.controller)
    material = resolve_material(program.metadata.material, profile.kind)
    return Job(program, build_timeline(program, profile, material))
