"""What the documents list is what the code has."""

import re
from pathlib import Path

from industriverse_core.errors import ErrorCode
from industriverse_ros import names
from shield_node.transitions import TABLE

ROOT = Path(__file__).parents[1]
INTERFACES = (ROOT / "docs" / "interfaces.md").read_text()


def test_every_error_code_is_listed_and_no_other():
    listed = {(int(code), name) for code, name in re.findall(r"^\| (\d{3}) \| ([A-Z_]+) \|", INTERFACES, re.MULTILINE)}
    assert listed == {(int(code), code.name) for code in ErrorCode if code}


def test_every_name_is_listed():
    fixed = {value for key, value in vars(names).items() if key.isupper()}
    machine = {
        function("<machine>")
        for function in (
            names.permit,
            names.telemetry,
            names.execution_trace,
            names.safety_state,
            names.residual,
            names.execute_program,
        )
    }
    missing = [name for name in fixed | machine if f"`{name}`" not in INTERFACES]
    assert not missing


def test_every_service_and_action_is_listed_and_every_message_carries_units():
    interfaces = ROOT / "src" / "industriverse_msgs"
    for file in [*interfaces.glob("srv/*.srv"), *interfaces.glob("action/*.action")]:
        assert file.stem in INTERFACES, file.name
    for file in interfaces.glob("msg/*.msg"):
        for line in file.read_text().splitlines():
            if line.startswith("float64 ") and file.name != "Estimate.msg":
                described = "[" in line or file.name in (
                    "Quote.msg",
                    "Finding.msg",
                    "ResidualChannel.msg",
                    "LedgerEntry.msg",
                )
                assert described, f"{file.name}: no unit: {line}"


def test_the_permit_machine_is_drawn_as_it_is():
    assert TABLE.diagram() in (ROOT / "docs" / "safety.md").read_text()


def test_the_project_speaks_of_itself_alone():
    for file in [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/README.md")]:
        text = file.read_text()
        assert not re.search(r"/work/|\bissue #?\d+|\bthis session\b", text), file
