"""The page on paper: printed by the Chromium that is on the machine.

Chosen over PDF libraries because the page's style sheet (grid, custom properties, inline SVG) is then rendered by
what it is written for; WeasyPrint would need a second style sheet, ReportLab a second page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import replace_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST_S = 120.0
INSTALL = "Install it with: sudo apt-get install chromium"


def find_browser() -> str:
    """The first browser found. Raises InputError (TOOL_MISSING)."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise InputError(
        ErrorCode.TOOL_MISSING, f"a PDF is printed by Chromium, and none of {', '.join(BROWSERS)} is here.", INSTALL
    )


def print_pdf(html: str, target: Path, browser: str) -> None:
    """Write the page as PDF, whole or not at all. Raises InputError (TOOL_MISSING) when the browser cannot."""
    with tempfile.TemporaryDirectory(prefix="industriverse-report-") as name:
        folder = Path(name)
        (folder / "report.html").write_text(html, encoding="utf-8")
        made = folder / "report.pdf"
        # the browser's sandbox does not work for root, as in containers; the page can load and send nothing anyway
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            browser, "--headless", *sandbox, "--disable-gpu", "--no-first-run", f"--user-data-dir={folder / 'profile'}",
            "--no-pdf-header-footer", f"--print-to-pdf={made}", (folder / "report.html").as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(browser, str(error)) from error
        if not made.is_file():
            raise _failed(browser, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
        replace_file(target, made.read_bytes())


def _failed(browser: str, reason: str) -> InputError:
    seen = f"{browser} did not print the page ({reason[:200]})."
    return InputError(ErrorCode.TOOL_MISSING, seen, "Write the page with -o, and print it from a browser.")
