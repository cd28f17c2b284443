"""What the documents list is what the code has."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import machine_node.permit_guard
import shield_node.transitions
from industriverse_core.errors import ErrorCode
from industriverse_ros import names

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


@pytest.mark.parametrize("table", [shield_node.transitions.TABLE, machine_node.permit_guard.TABLE])
def test_the_permit_machines_are_drawn_as_they_are(table):
    assert table.diagram() in (ROOT / "docs" / "safety.md").read_text()


def test_the_project_speaks_of_itself_alone():
    for file in [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/README.md")]:
        text = file.read_text()
        assert not re.search(r"/work/|\bissue #?\d+|\bthis session\b", text), file


OVERVIEW = (ROOT / "docs" / "code_overview.md").read_text()
PACKAGES = {
    init.parent.name: init.parent for init in [*ROOT.glob("src/*/*/__init__.py"), *ROOT.glob("launch/*/__init__.py")]
}
FILE_ENDINGS = {"key", "arrow", "sqlite", "json", "jsonl", "tty", "log", "yaml", "gcode", "py", "h5"}


def resolve(name: str) -> Any:
    """The module, or what stands in it, that a dotted name means. Raises when there is none."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if not name.startswith(str(error.name)):
                raise
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_the_code_overview_names_what_exists():
    spans = set(re.findall(r"`([^`\n]+)`", OVERVIEW))
    references = {span for span in spans if span.partition(".")[0] in PACKAGES and "." in span}
    dotted = {span for span in spans - references if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+(\(\))?", span)}
    assert not {span for span in dotted if span.rpartition(".")[2] not in FILE_ENDINGS}, "names begin with a package"
    assert len(references) > 100
    missing = []
    for name in sorted(references):
        try:
            resolve(name)
        except (AttributeError, ModuleNotFoundError):
            missing.append(name)
    assert not missing


def test_the_code_overview_states_the_constants_as_they_are():
    stated = re.findall(r"`([\w.]+)` = (\d+(?:\.\d+)?)", OVERVIEW)
    assert len(stated) >= 5
    assert {name: float(value) for name, value in stated} == {name: resolve(name) for name, _ in stated}


def test_the_map_of_the_code_overview_names_every_module():
    map_of_code = OVERVIEW.partition("\n## Map\n")[2]
    modules = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
        if path.stem != "__init__"
    }
    assert {name for name in modules if f"`{name}`" not in map_of_code} == set()
