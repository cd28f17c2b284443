"""What each fault does to a virtual machine: to its body, its line, its board. Reactions are left to physics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from industriverse_core.units import MM
from machine_node.virtual.axes import Axes
from machine_node.virtual.faults import AXES, Change
from machine_node.virtual.line import SerialLine
from machine_node.virtual.mill_plant import MillPlant
from machine_node.virtual.plant import Plant

BROWN_OUT = 0.4  # share of the voltage below which the board does not run


class Board(Protocol):
    """What both controllers have."""

    frozen: bool

    @property
    def axes(self) -> Axes:
        """The body's axes."""

    @property
    def plant(self) -> Plant | MillPlant:
        """The body."""

    def power_on(self, now_s: float) -> None:
        """Restart."""

    def brown_out(self, now_s: float) -> None:
        """Dead until the next power-on."""


class Effects:
    """Applies changes.

    Args:
        board: the controller with its machine.
        line: the serial line.
        pull_cable: takes the port away for so many seconds.
    """

    def __init__(self, board: Board, line: SerialLine, pull_cable: Callable[[float], None]) -> None:
        self._board, self._line, self._pull_cable = board, line, pull_cable
        self._motor_share = 1.0
        self._sagging = False

    def apply(self, change: Change, now_s: float) -> None:
        """Begin or end a fault."""
        plant, on = self._board.plant, change.on
        name, value = change.fault, change.value
        if name == "garbled_bytes":
            self._line.garbled_share = value if on else 0.0
        elif name == "lost_bytes":
            self._line.lost_share = value if on else 0.0
        elif name == "cable_pull":
            self._pull_cable(value)
        elif name == "controller_reset":
            self._board.power_on(now_s)
        elif name == "frozen":
            self._board.frozen = on
        elif name == "belt_slip":
            self._board.axes.slip(AXES.index(change.target), value * MM)
        elif name == "lost_steps":
            self._motor_share = value if on else 1.0
            self._set_force()
        elif name == "power_sag":
            self._sag(value if on else 1.0, now_s)
        elif isinstance(plant, Plant):
            _apply_to_printer(plant, change)
        else:
            _apply_to_mill(plant, change)

    def _set_force(self) -> None:
        self._board.axes.force_factor = self._motor_share * self._board.plant.supply

    def _sag(self, share: float, now_s: float) -> None:
        self._board.plant.supply = share
        self._set_force()
        dead = share < BROWN_OUT
        if dead and not self._sagging:
            self._board.brown_out(now_s)
        elif self._sagging and not dead:
            self._board.power_on(now_s)
        self._sagging = dead


def _apply_to_printer(plant: Plant, change: Change) -> None:
    on, value = change.on, change.value
    if change.fault == "clog":
        plant.filament.passing = value if on else 1.0
    elif change.fault == "runout":
        plant.filament.present = not on
    elif change.fault == "part_detached":
        plant.part_attached = not on
    else:
        heater = plant.bed if change.target == "bed" else plant.hotend
        if change.fault in ("heater_stuck_on", "heater_stuck_off"):
            heater.stuck_duty = (1.0 if change.fault == "heater_stuck_on" else 0.0) if on else None
        elif change.fault in ("thermistor_short", "thermistor_open"):
            heater.sensor_circuit = change.fault.removeprefix("thermistor_") if on else ""
        else:
            heater.set_drift(value if on else 0.0)


def _apply_to_mill(plant: MillPlant, change: Change) -> None:
    if change.fault == "spindle_stall":
        plant.spindle.jammed = change.on
    elif change.on:
        plant.spindle.tool_broken = True
    else:
        plant.spindle.change_tool()
