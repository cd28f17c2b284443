"""report: the page, its PDF and its data for one program file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Case, File, Json, Machine, MaterialName, Stock, load_case, named_for
from industriverse_cli.output import print_json
from industriverse_cli.pricing import Quantity, Start, TariffName

if TYPE_CHECKING:
    from collections.abc import Callable

    from industriverse_cli.report.model import Report
    from industriverse_core.artefacts import GateReport
    from twin_node.price_parts import Order
    from twin_node.tariff import Tariff

PACKAGES = ("industriverse_cli", "industriverse_core", "shield_node", "twin_node")


def report(
    file: File,
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page. Default: FILE's name with .report.html."),
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", metavar="FILE", help="A PDF of the page too; needs Chromium.")
    ] = None,
    stock: Stock = "",
    tariff: TariffName = "default",
    start: Start = "",
    quantity: Quantity = 1,
    json: Json = False,
) -> None:
    """Write one page about a program: verdict, tool path, power, energy, price, predictions.

    The page is one HTML file that loads nothing. --json prints the same data, and writes no page unless -o is given.
    A program that the gates refuse gets its page too, with exit status 3.

    Example: industriverse report part.gcode --machine prusa_mk3s -o part.html
    """
    from industriverse_cli.programs import end, refusal_of
    from industriverse_cli.report.model import as_json
    from industriverse_cli.report.pdf import find_browser
    from twin_node.price_parts import Order
    from twin_node.tariff import load_tariff, start_of

    named_for(output, (".html", ".htm"), file)
    named_for(pdf, (".pdf",), file)
    prices, order = load_tariff(tariff), Order(quantity, start_of(start))
    browser = find_browser() if pdf is not None else ""
    made, gates = make_report(load_case(file, machine, material, stock=stock), file, prices, order, datetime.now(UTC))
    if output is None and pdf is None and not json:
        output = Path(f"{file.stem}.report.html")
    written = _write(made, output, pdf, browser)
    if json:
        print_json(as_json(made))
    else:
        for path in written:
            print(f"{path}: {made.name} on {made.machine}, {path.stat().st_size / 1e6:.1f} MB")
    end(refusal_of(gates))


def make_report(case: Case, file: Path, tariff: Tariff, order: Order, now: datetime) -> tuple[Report, GateReport]:
    """Gates, prediction, price and geometry of one case, and the gates' own report."""
    from industriverse_cli.programs import run_gate
    from industriverse_cli.report.collect import collect
    from industriverse_core.files import read_bytes
    from industriverse_core.gcode import ARROW_MAGIC, MAX_GCODE_BYTES

    gates = run_gate(case)
    source = read_bytes(file, MAX_GCODE_BYTES)
    size = len(source)
    if source.startswith(ARROW_MAGIC):
        source = b""
    return collect(case, gates, tariff, order, source, _provenance(case, size, tariff.id, now)), gates


def _provenance(case: Case, size: int, tariff: str, now: datetime) -> dict[str, Any]:
    meta = case.program.metadata
    return {
        "made": f"{now:%Y-%m-%d %H:%M} UTC",
        "program_digest": case.program.digest.hex(),
        "instructions": len(case.program),
        "source_lines": meta.source_line_count,
        "file_bytes": size,
        "generator": meta.generator,
        "slicer_time_s": meta.slicer_time_s or None,
        "machine_profile": case.profile.id,
        "material": case.material.id,
        "tariff": tariff,
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _write(made: Report, output: Path | None, pdf: Path | None, browser: str) -> list[Path]:
    """Write what is asked for; the files written. Raises InputError (USAGE) where one cannot be written."""
    from industriverse_cli.report.page import page_html
    from industriverse_cli.report.pdf import print_pdf
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.files import replace_file

    html = page_html(made) if output is not None or pdf is not None else ""
    actions: list[tuple[Path | None, Callable[[Path], None]]] = [
        (output, lambda path: replace_file(path, html.encode())),
        (pdf, lambda path: print_pdf(html, path, browser)),
    ]
    written = []
    for path, action in actions:
        if path is None:
            continue
        try:
            action(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(ErrorCode.USAGE, f"{path}: cannot be written ({reason}).", "Name another file.") from error
        written.append(path)
    return written
