"""report: the page stands alone, is safe from what it shows, and its numbers are the prediction's."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from industriverse_cli.options import load_case
from industriverse_cli.report import pdf
from industriverse_core.gcode import load_program
from industriverse_core.machine import MACHINE_FOLDER
from industriverse_core.program import write_program
from twin_node.oracle import predict

EXAMPLES = Path(__file__).parents[3] / "examples"
WASHER, BRACKET = EXAMPLES / "washer_pla.gcode", EXAMPLES / "bracket_mill.ngc"
REFUSED = EXAMPLES / "outside_envelope.gcode"
KEYS = {
    "schema", "schema_version", "name", "machine", "machine_title", "kind", "material", "verdict", "errors", "warnings",
    "findings", "unpredicted", "prediction", "toolpath", "assumptions", "sources", "provenance",
}  # fmt: skip
PREDICTION_KEYS = {
    "quantities", "energy_by_subsystem", "energy_balance", "power", "temperatures", "layers", "price",
}  # fmt: skip
VOID = {"meta", "br", "img", "input"}


class Page(HTMLParser):
    """Elements, attributes and scripts of a page; checks that every element is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style", "h1", "title"):
            name = self.elements[-1][1].get("type", self.open[-1])
            self.texts[name] = self.texts.get(name, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(run, tmp_path):
    """Make a page; (exit status, its text, parsed)."""

    def page(file, *words):
        target = tmp_path / "out" / "page.html"
        status, _, _ = run("report", file, "-o", target, *words)
        text = target.read_text()
        return status, text, Page(text)

    return page


def answer_of(run, file, *words):
    """The JSON object, without NaN or infinity."""
    return json.loads(run("report", file, "--json", *words)[1], parse_constant=lambda name: pytest.fail(name))


# --- the page ---


@pytest.mark.parametrize("file", [WASHER, REFUSED])
def test_the_page_loads_nothing(page, file):
    _, text, parsed = page(file)
    for tag, attributes in parsed.elements:
        assert not {"srcset", "action", "formaction", "background", "poster", "style"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "audio", "video")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"https?://", parsed.texts["script"] + parsed.texts["style"])
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import)\s*\(", parsed.texts["script"]
    )


def test_the_policy_allows_these_two_texts_and_nothing_else(page):
    _, _, parsed = page(WASHER)
    policy = next(each["content"] for each in parsed.all("meta") if "http-equiv" in each)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for rule, name in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(parsed.texts[name].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_the_page_can_be_read_by_everybody(page):
    _, _, parsed = page(WASHER)
    assert parsed.all("html")[0]["lang"] == "en"
    assert len(parsed.all("caption")) == len(parsed.all("table")) >= 3
    assert all(each["scope"] for each in parsed.all("th"))
    assert all(each["alt"] for each in parsed.all("img"))
    for each in parsed.all("svg"):
        assert each.get("aria-hidden") == "true" or each.get("aria-label") or each.get("class") == "plot"
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    assert {each["for"] for each in parsed.all("label") if "for" in each} <= set(identifiers)


def test_a_mill_is_coloured_by_joules_along_its_path(page):
    status, text, _ = page(BRACKET, "--machine", "grbl_mill")
    assert status == 0
    assert "[J/mm]" in text
    assert "J/mm³]" not in text
    assert "Energy by level" in text


def test_what_is_refused_gets_a_page_that_says_so_first(page):
    status, text, parsed = page(REFUSED)
    assert status == 3
    order = [text.index(part) for part in ("This program must not run", "Time</p>", "Tool path</h2>")]
    assert order == sorted(order)
    assert any(each.get("class") == "badge refuse" for each in parsed.all("p"))
    assert "would take" in text


def test_what_cannot_be_predicted_says_why(page, tmp_path):
    file = tmp_path / "hot.gcode"
    file.write_text("G28\nM104 S215\nM109 S215\nM190 S500\nG1 X50 Y50 F3000\nG1 X60 E1 F1200\nM104 S0\nM140 S0\n")
    status, text, _ = page(file)
    assert status == 3
    assert "No prediction" in text
    assert "the bed waits for 500 degC" in text
    assert "Tool path</h2>" in text
    assert "Price</h2>" not in text


HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
PROFILE = "title: Original Prusa i3 MK3S"


def test_nothing_that_is_shown_becomes_markup(page, tmp_path):
    file = tmp_path / "<b onclick=alert(4)>&amp;.gcode"
    lines = WASHER.read_text().splitlines()
    lines.insert(0, f"; generated by PrusaSlicer {HOSTILE} on")
    lines.insert(200, f";TYPE:{HOSTILE}</script><!--")
    lines.append(f"G999 {HOSTILE}")
    lines.append("M117 ]]></style></title>")
    file.write_text("\n".join(lines))
    machine = tmp_path / "machine.yaml"
    text = (MACHINE_FOLDER / "prusa_mk3s.yaml").read_text()
    assert PROFILE in text
    machine.write_text(text.replace(PROFILE, f"title: '{HOSTILE}'"))
    _, text, parsed = page(file, "--machine", machine)
    assert [each.get("type") for each in parsed.all("script")] == ["application/json", None]
    assert len(parsed.all("img")) == 1
    assert not parsed.all("b")
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert parsed.texts["h1"] == file.name
    assert parsed.texts["title"].startswith(f"{file.name} on prusa_mk3s")
    data = json.loads(parsed.texts["application/json"])
    assert any(name.startswith('"><img') for name in data["features"])
    assert "<script>alert" not in text


# --- the numbers ---


def test_the_json_object_has_the_stated_keys(run):
    answer = answer_of(run, WASHER)
    assert set(answer) == KEYS
    assert set(answer["prediction"]) == PREDICTION_KEYS
    assert (answer["schema"], answer["schema_version"]) == ("industriverse-report", 1)
    assert set(answer["prediction"]["quantities"][0]) == {"key", "title", "unit", "mean", "low", "high"}
    assert set(answer["prediction"]["price"]) == {"currency", "total", "parts", "facts", "notes"}
    assert set(answer["prediction"]["layers"]) == {"z_m", "energy_j", "volume_m3", "time_s", "before_j", "after_j"}
    assert {each["key"] for each in answer["prediction"]["quantities"]} >= {"time_s", "energy_j", "peak_power_w"}


@pytest.mark.parametrize(("file", "machine"), [(WASHER, "prusa_mk3s"), (BRACKET, "grbl_mill")])
def test_the_sums_are_the_predictions(run, file, machine):
    said = answer_of(run, file, "--machine", machine)["prediction"]
    case = load_case(file, machine, "")
    expected = predict(case.program, case.profile, case.material)
    joules = expected.energy_j.mean
    assert sum(each["mean"] for each in said["energy_by_subsystem"]) == pytest.approx(joules, rel=1e-9)
    assert sum(each["value"] for each in said["energy_balance"]) == pytest.approx(joules, rel=1e-6)
    layers = said["layers"]
    assert sum(layers["energy_j"]) + layers["before_j"] + layers["after_j"] == pytest.approx(joules, rel=1e-9)
    width = np.diff(said["power"]["edges_s"])
    by_name = {each["key"]: each["mean"] for each in said["energy_by_subsystem"]}
    for name, watts in said["power"]["power_w"].items():
        assert np.dot(watts, width) == pytest.approx(by_name[name], rel=1e-9)
    assert width.sum() == pytest.approx(expected.time_s.mean)
    price = json.loads(run("price", file, "--machine", machine, "--json")[1])
    assert said["price"]["total"]["mean"] == pytest.approx(price["total"])
    assert {each["key"]: each["value"] for each in said["price"]["parts"]} == pytest.approx(
        {name: value for name, value in price["parts"].items() if value}
    )
    for each in said["quantities"]:
        estimate = getattr(expected, each["key"])
        assert (each["low"], each["mean"], each["high"]) == (estimate.low, estimate.mean, estimate.high)


def test_the_page_says_what_is_taken_for_granted_in_words(page):
    _, content, _ = page(WASHER)
    assert "2.0% of the runs are taken to break off, and 1.0% of the finished parts not to be good" in content
    assert "<dd>known: common practice" in content
    assert "<dd>K " not in content


def test_the_page_shows_what_the_json_object_says(page, run):
    answer = answer_of(run, WASHER)
    _, _, parsed = page(WASHER)
    data = json.loads(parsed.texts["application/json"])
    for name, watts in answer["prediction"]["power"]["power_w"].items():
        assert data["power"]["watts"][name] == pytest.approx(watts, abs=0.006)
    assert data["layer_energy"]["joules"] == pytest.approx(answer["prediction"]["layers"]["energy_j"], abs=0.006)
    assert data["path"]["count"] == answer["toolpath"]["vertices"]
    assert len(base64.b64decode(data["path"]["records"])) == 16 * data["path"]["count"]
    assert data["features"] == answer["toolpath"]["features"]
    assert "Perimeter" in data["features"]


def test_bytecode_is_reported_like_its_gcode_but_for_the_slicers_features(run, tmp_path):
    write_program(load_program(WASHER), tmp_path / "washer.arrow")
    first, second = answer_of(run, WASHER), answer_of(run, tmp_path / "washer.arrow")
    assert first["prediction"] == second["prediction"]
    assert second["toolpath"]["features"] == ["travel", "printing"]


# --- the command ---


def test_the_page_has_a_name_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("report", WASHER)
    assert (status, err) == (0, "")
    assert (tmp_path / "washer_pla.report.html").is_file()
    assert out.startswith("washer_pla.report.html: washer_pla.gcode on prusa_mk3s")


def test_json_alone_writes_no_page(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert answer_of(run, WASHER)["verdict"] == "accept"
    assert list(tmp_path.iterdir()) == []


def test_help_has_an_example(run):
    status, out, _ = run("report", "--help")
    assert status == 0
    assert "Example: industriverse report" in out


def test_a_page_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.html").mkdir()
    for target in (tmp_path, tmp_path / "folder.html", tmp_path / "file" / "page.html"):
        status, _, err = run("report", WASHER, "-o", target)
        assert status == 2
        assert err.startswith("industriverse: [USAGE]")
        assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["-o", "--pdf"])
def test_a_program_is_never_overwritten_by_its_report(run, tmp_path, option):
    copy = tmp_path / "part.gcode"
    copy.write_bytes(WASHER.read_bytes())
    status, _, err = run("report", copy, option, copy)
    assert status == 2
    assert "what shall it be?" in err
    assert copy.read_bytes() == WASHER.read_bytes()


def test_without_chromium_the_refusal_says_how_to_install_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    status, _, err = run("report", WASHER, "-o", tmp_path / "page.html", "--pdf", tmp_path / "page.pdf")
    assert status == 2
    assert "[TOOL_MISSING]" in err
    assert "apt-get install chromium" in err
    assert list(tmp_path.iterdir()) == []


def test_a_browser_that_fails(run, tmp_path, monkeypatch):
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho 'no display' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(pdf, "find_browser", lambda: str(fake))
    status, _, err = run("report", WASHER, "--pdf", tmp_path / "page.pdf")
    assert status == 2
    assert "did not print the page (no display)" in err
    assert not (tmp_path / "page.pdf").exists()


def test_hostile_files_get_their_pages(page, reference_data):
    files = sorted((reference_data / "gcode" / "hostile").glob("h*"))
    assert files
    for file in files:
        status, text, _ = page(file)
        assert status in (0, 3), file.name
        assert ("This program must not run" in text) == (status == 3)
