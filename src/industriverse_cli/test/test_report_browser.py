"""The page in a real browser: the viewer starts, nothing is blocked, paper gets the still picture. Needs Chromium."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from industriverse_cli.main import main
from industriverse_cli.report.pdf import BROWSERS

WASHER = Path(__file__).parents[3] / "examples" / "washer_pla.gcode"
BROWSER = next((found for found in map(shutil.which, BROWSERS) if found), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
NO_GL = ("--disable-gpu", "--disable-3d-apis")


def report(*words):
    with pytest.raises(SystemExit) as ended:
        main(["report", str(WASHER), *(str(word) for word in words)])
    assert ended.value.code == 0


def opened(page, folder, *options):
    """The document after its scripts have run, and what the browser's console said."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [
            BROWSER, "--headless", *sandbox, *options, f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=1200,900",
            "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("options", "hint"), [(SOFTWARE_GL, "Drag to turn"), (NO_GL, "no WebGL 2")])
def test_the_viewer_starts_and_nothing_is_blocked(tmp_path, options, hint):
    page = tmp_path / "page.html"
    report("-o", page)
    document, console = opened(page, tmp_path, *options)
    errors = [line for line in console if re.search("error|refused|policy|uncaught", line, re.IGNORECASE)]
    assert errors == []
    assert 'class="stage live"' in document
    assert hint in document
    assert re.search(r'id="layer-text"[^>]*>\d of 7 ', document)


def test_paper_gets_every_section_and_the_picture(tmp_path):
    report("--pdf", tmp_path / "page.pdf")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/Image" in data
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 12
