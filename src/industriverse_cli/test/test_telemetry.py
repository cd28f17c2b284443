"""The command telemetry, on records that the hub's own buffer has written."""

import csv
import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from industriverse_cli import telemetry_plot as drawing
from machine_node.hub.buffer import Limits, Now, TelemetryBuffer
from machine_node.hub.rows import POWER
from machine_node.hub.summary import summarise

LIMITS = Limits(min_free_bytes=0)
ROWS = 300


def now(t):
    return Now(1000.0 + t, 50.0 + t, 1.7e9 + t)


def row(t, watts=100.0):
    return (1000.0 + t, t, 1000.01 + t, 50.0 + t, 1000.0, 1000.005 + t, 24.0, 4.0, watts, 10.0 * t)


def make(folder, start=0.0, count=ROWS, hole=()):
    buffer = TelemetryBuffer(folder, ("m", "n"), LIMITS)
    rows = [row(start + 0.1 * k, 100.0 + k % 7) for k in range(count) if k not in hole]
    buffer.flush({"m/power": rows}, now(start + 0.1 * count))
    return buffer


@pytest.fixture
def cell(tmp_path, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    make(tmp_path / "demo", hole=range(100, 150)).close(now(30.0))
    return tmp_path / "demo"


def test_the_summary_says_what_is_there_and_what_is_missing(cell, run):
    status, out, _ = run("telemetry", "demo")
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("m "))
    assert "power" in line
    assert "250" in line
    assert "5.10 s" in line
    assert "power_w 105 W" in line
    assert "nothing in this time: " in out
    status, out, _ = run("telemetry", cell / "telemetry_buffer.h5", "--stream", "power", "--machine", "m", "--json")
    (stream,) = json.loads(out)["streams"]
    assert (stream["rows"], stream["lost_rows"], stream["gaps"]) == (250, 0, 1)
    assert stream["longest_gap_s"] == pytest.approx(5.1)
    assert stream["units"]["power_w"] == "W"
    assert stream["last"]["energy_j"] == pytest.approx(299.0)
    assert stream["delay_s"] == pytest.approx(0.01)


def test_rows_as_csv_have_units_and_only_the_time_that_is_asked_for(cell, run):
    status, out, _ = run("telemetry", "demo", "--stream", "power", "--machine", "m", "--since", "5s", "--csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == pytest.approx(51, abs=1)
    assert float(rows[-1]["power_w [W]"]) == 105.0
    assert float(rows[0]["received_s [s]"]) >= 1024.9


def test_a_record_in_several_files_is_one(tmp_path, run):
    buffer = TelemetryBuffer(tmp_path, ("m",), Limits(file_age_s=10.0, min_free_bytes=0))
    for t in range(30):
        buffer.flush({"m/power": [row(t + 0.1 * k) for k in range(10)]}, now(t))
    buffer.close(now(30))
    assert len(list(tmp_path.glob("*.h5"))) == 4
    (tmp_path / "telemetry_buffer.20000101T000000000Z.h5").write_bytes(b"rubbish")
    status, out, err = run("telemetry", tmp_path, "--stream", "power", "--since", "all", "--csv")
    assert status == 0
    assert [int(each["row"]) for each in csv.DictReader(io.StringIO(out))] == list(range(1, 301))
    assert "RECORD_BROKEN" in err


def test_the_plot_is_a_picture_with_a_break_where_rows_are_missing(cell, run, tmp_path):
    picture = tmp_path / "out.svg"
    status, out, _ = run("telemetry", "demo", "--stream", "power", "--plot", "-o", picture)
    assert (status, out.strip()) == (0, str(picture))
    root = ET.fromstring(picture.read_text())
    (line,) = root.iter("{http://www.w3.org/2000/svg}path")
    assert line.attrib["d"].count("M") == 2
    text = "".join(root.itertext())
    assert "m/power [W]" in text
    assert "power_w" in text
    status, out, _ = run("telemetry", "demo", "--plot", "--column", "energy_j", "--column", "voltage_v")
    assert status == 0
    assert "m/power [J]" in out
    assert "m/power [V]" in out
    assert any(0x2800 < ord(letter) <= 0x28FF for letter in out)


def test_a_peak_is_drawn_however_many_rows_there_are():
    rows = np.zeros(200_000, POWER.dtype)
    rows["row"] = np.arange(len(rows)) + 1
    rows["received_s"] = np.arange(len(rows)) * 0.01
    rows["power_w"] = 10.0
    rows["power_w"][123_456] = 9000.0
    (panel,) = drawing.panels("m/power", rows, {column.name: column.unit for column in POWER.all_columns})
    picture = drawing.svg([panel])
    assert len(picture) < 60_000
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", picture)]
    assert min(heights) < 60.0 < max(heights)


def test_unmeasured_values_are_not_drawn():
    rows = np.zeros(10, POWER.dtype)
    rows["power_w"] = math.nan
    assert drawing.panels("m/power", rows, {"power_w": "W"}) == []
    assert summarise(rows[:0]).rows == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--stream", "nothing"], "USAGE"),
        (["--since", "5x"], "USAGE"),
        (["--csv"], "USAGE"),
        (["--plot", "-o", "x.png"], "USAGE"),
        (["--plot", "--stream", "events"], "USAGE"),
    ],
)
def test_wrong_use_is_one_line(cell, run, words, code):
    status, _, err = run("telemetry", "demo", *words)
    assert status == 2
    assert err.startswith(f"industriverse: [{code}]")
    assert len(err.splitlines()) == 1


def test_what_is_no_record_is_one_line(tmp_path, run):
    (tmp_path / "x.h5").write_bytes(b"no")
    for path, code in ((tmp_path / "x.h5", "RECORD_BROKEN"), (tmp_path / "y.h5", "FILE_NOT_FOUND")):
        status, _, err = run("telemetry", path)
        assert status == 2
        assert code in err


def test_follow_gives_what_comes_while_the_hub_records(tmp_path):
    buffer = make(tmp_path, count=20)
    command = [sys.executable, "-m", "industriverse_cli.main", "telemetry", str(tmp_path), "--machine", "m"]
    process = subprocess.Popen(
        [*command, "--stream", "power", "--follow", "--json"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        seen = [json.loads(process.stdout.readline())["row"] for _ in range(20)]
        buffer.flush({"m/power": [row(5.0)]}, now(5.0))
        seen.append(json.loads(process.stdout.readline())["row"])
        assert seen == list(range(1, 22))
    finally:
        process.kill()
        process.wait()
        buffer.close(now(6.0))
