"""What `./cell up` shows: stage by stage, then the running job, then its ledger. No ROS, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from industriverse_core.artefacts import LedgerEntry, Prediction, Quote, Subsystem
from industriverse_core.program import Heater, Op, Program
from industriverse_core.states import Safety
from industriverse_core.telemetry import TelemetrySample
from industriverse_core.units import duration_text, energy_text

SPINDLE_OPS = (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE, Op.STOP_SPINDLE_TURNING)


@dataclass(slots=True)
class Cutting:
    """What a mill's program says of spindle and feed; telemetry carries neither."""

    program: Program
    _switches: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._switches = np.flatnonzero(np.isin(self.program.op, SPINDLE_OPS))

    def text(self, instruction: int) -> str:
        """Spindle and feed as programmed at the instruction in hand."""
        op, value = self.program.op, self.program.value
        before = int(np.searchsorted(self._switches, instruction)) - 1  # one that is in hand has not switched yet
        switch = int(self._switches[before]) if before >= 0 else -1
        turning = switch >= 0 and op[switch] != Op.STOP_SPINDLE_TURNING
        words = f"spindle {float(value[switch]) * 60.0 / math.tau if turning else 0.0:5.0f} rpm"
        if 0 <= instruction < len(op) and op[instruction] == Op.STRAIGHT_TRAVERSE:
            return f"{words}   rapid"
        if 0 <= instruction < len(op) and op[instruction] in (Op.STRAIGHT_FEED, Op.ARC_FEED):
            return f"{words}   feed {float(self.program.columns['feed_m_s'][instruction]) * 6e4:4.0f} mm/min"
        return words


def stage_row(job_id: str, state: str, detail: str) -> RenderableType:
    """One line of the log of stages; a long detail wraps under itself."""
    row = Table.grid(padding=(0, 2))
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True, min_width=10)
    row.add_column()
    row.add_row(f"  {job_id}", state, Text(detail))
    return row


def permit_word(state: int) -> str:
    """What a SafetyState means for the machine, in one word."""
    words = {Safety.ARMED: "awaited", Safety.PERMITTING: "live", Safety.WITHHELD: "withheld", Safety.LATCHED: "latched"}
    return words.get(state, "none")  # type: ignore[call-overload, no-any-return]


def prediction_text(prediction: Prediction) -> str:
    """Time and energy with their 90 % intervals."""
    time_s, energy_j = prediction.time_s, prediction.energy_j
    return (
        f"{duration_text(time_s.mean)} ({duration_text(time_s.low)} – {duration_text(time_s.high)}), "
        f"{energy_text(energy_j.mean)} ({energy_text(energy_j.low)} – {energy_text(energy_j.high)}), "
        + (f"{prediction.material_kg.mean * 1e3:.2f} g, " if prediction.material_kg.mean > 0.0 else "")
        + f"peak {prediction.peak_power_w.mean:.0f} W"
    )


def quote_text(quote: Quote) -> str:
    """The price with its 90 % interval."""
    return f"{quote.total.mean:.2f} {quote.currency} ({quote.total.low:.2f} – {quote.total.high:.2f})"


def machine_view(sample: TelemetrySample, permit: str, cutting: Cutting | None = None) -> RenderableType:
    """The running machine: progress, temperatures or spindle and feed, watts, permit."""
    table = Table.grid(padding=(0, 3))
    table.add_row(
        Text(f"{sample.progress:6.1%}", style="bold"),
        ProgressBar(total=1.0, completed=sample.progress, width=30),
        Text(f"permit {permit}", style="green" if permit == "live" else "yellow"),
    )
    return Group(table, Text("  " + machine_text(sample, cutting)))


def machine_line(sample: TelemetrySample, permit: str, cutting: Cutting | None = None) -> str:
    """The running machine in one line, for a log."""
    return f"      {sample.progress:6.1%}   {machine_text(sample, cutting)}   permit {permit}"


def machine_text(sample: TelemetrySample, cutting: Cutting | None = None) -> str:
    """Temperatures, spindle and feed, watts and position in one line, as far as the machine has them."""
    parts = [] if cutting is None else [cutting.text(sample.instruction)]
    for heater, name in ((Heater.HOTEND, "nozzle"), (Heater.BED, "bed")):
        reading = sample.reading(heater)
        if reading is not None:
            parts.append(f"{name} {reading.temperature_c:5.1f}/{reading.target_c:.0f} °C")
    parts.append(f"{sample.power_w:5.1f} W")
    x, y, z = (1e3 * value for value in sample.position_m)
    if math.isfinite(x + y + z):  # unknown before homing
        parts.append(f"x {x:6.1f} y {y:6.1f} z {z:5.2f} mm")
    return "   ".join(parts)


def ledger_table(entry: LedgerEntry) -> Table:
    """Predicted against measured, joules by subsystem, and where they went."""
    prediction = entry.prediction
    table = Table(title=f"Ledger of job {entry.job_id}", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("predicted", justify="right")
    table.add_column("90 % interval", justify="right")
    table.add_column("measured", justify="right")
    if prediction is not None:
        rows = (
            ("time", prediction.time_s, entry.time_s, duration_text),
            ("energy", prediction.energy_j, entry.electric_j, energy_text),
            ("material", prediction.material_kg, entry.material_kg, lambda kg: f"{kg * 1e3:.2f} g"),
        )
        for name, estimate, measured, show in rows:
            if name == "material" and not (estimate.mean > 0.0 or measured > 0.0):  # a mill feeds none
                continue
            table.add_row(
                name,
                show(estimate.mean),
                f"{show(estimate.low)} – {show(estimate.high)}",
                _judged(estimate, measured, show),
            )
    for subsystem in Subsystem:
        expected = prediction.energy_by_subsystem_j.get(subsystem) if prediction is not None else None
        measured = entry.energy_by_subsystem_j.get(subsystem)
        if (expected is not None and expected.mean > 0.0) or (measured is not None and measured > 0.0):
            table.add_row(
                f"  {subsystem.name.lower()}",
                energy_text(expected.mean) if expected else "",
                f"{energy_text(expected.low)} – {energy_text(expected.high)}" if expected else "",
                energy_text(measured) if measured is not None else "",
                style="dim",
            )
    return table


def _judged(estimate: Any, measured: float, show: Any) -> Text:
    """A measured value, yellow when outside its predicted interval."""
    inside = estimate.low <= measured <= estimate.high
    return Text(show(measured), style="green" if inside else "yellow")


def ledger_text(entry: LedgerEntry, is_completed: bool) -> str:
    """The balance, and the price of a part that was completed."""
    balance = (
        f"  electricity {energy_text(entry.electric_j)} = heat {energy_text(entry.heat_j)} + stored "
        f"{energy_text(entry.stored_j)} + work {energy_text(entry.work_j)} + residual "
        f"{energy_text(entry.residual_j)} ({entry.residual_fraction:+.1%})"
    )
    if not is_completed:
        return f"{balance}\n  the job was not completed: there is no part to price"
    return f"{balance}\n  price of this part {entry.price:.2f} {entry.currency}"
