"""A short sample of the mutation campaign (python -m shield_node.mutation.campaign runs the whole one)."""

import random
from pathlib import Path

import pytest

from industriverse_core.artefacts import Verdict
from shield_node.mutation.campaign import Case, is_caught, milled_cases, printed_cases, seed
from shield_node.mutation.edits import MILL_KINDS, PRINTER_KINDS

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CASES = [
    case for case in printed_cases(EXAMPLES, "prusa_mk3s") if case.name in ("washer_pla.gcode", "cable_clip_petg.gcode")
]
MILLED = milled_cases(3, random.Random(20))
# the examples have no arcs, count filament relatively, and are 2 mm high
NO_PLACE = {"arc radius broken", "lost G92 E0", "Z into the part"}


def test_sound_programs_pass_and_do_no_harm():
    assert len(CASES) >= 2
    for case in (*CASES, *MILLED):
        assert case.verdict(case.text) is not Verdict.REFUSE, case.name
        assert case.harm(case.text) == "", case.name


@pytest.mark.parametrize(
    ("cases", "name"),
    [
        *((CASES, name) for name in PRINTER_KINDS if name not in NO_PLACE),
        *((MILLED, name) for name in MILL_KINDS),
    ],
)
def test_a_dangerous_edit_is_caught(cases: list[Case], name: str):
    """Each kind on its own: the campaign's 95 % are about all of them together."""
    kind = (PRINTER_KINDS if cases is CASES else MILL_KINDS)[name]
    rng = random.Random(name)
    found = [(case, seed(case, kind, rng)) for case in cases]
    dangerous = [(case, edit) for case, edit in found if edit is not None]
    assert dangerous, "no dangerous edit of this kind was found"
    caught = sum(is_caught(case, kind, edit[0]) for case, edit in dangerous)
    assert caught == len(dangerous), [edit[1] for _, edit in dangerous]
