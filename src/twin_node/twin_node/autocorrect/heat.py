"""Rewrites of heating: less heat that nobody uses, and waits that were forgotten."""

from __future__ import annotations

import numpy as np

from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Heater, Op, Program
from twin_node.autocorrect.editing import inserted
from twin_node.autocorrect.geometry import works

FIRST_LAYERS_M = 1e-3  # the part holds by these; from there on the bed may be cooler
_TAKES_NO_TIME = (Op.NOP, Op.SET_HEATER, Op.SET_FAN, Op.SET_LIMIT, Op.SET_PRESSURE_ADVANCE)


def heat_in_parallel(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Switch the nozzle on before the wait for the bed, where it is switched on after it."""
    bed, nozzle = _first(program, Op.WAIT_HEATER, Heater.BED), _first_on(program, Heater.HOTEND)
    if bed < 0 or nozzle < bed:
        return program
    value = float(program.value[nozzle])
    return inserted(program, bed, [_set(program, bed, Heater.HOTEND, value)])


def switch_off_early(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Switch every heater off right after the last move that needs it."""
    last = _last_work(program)
    if last < 0 or not np.any(program.extrude_m3 > 0.0):
        return program
    after = np.arange(len(program)) > last
    waits = after & (program.op == Op.WAIT_HEATER)
    rows = []
    for heater in Heater:
        commands = (program.op == Op.SET_HEATER) | (program.op == Op.WAIT_HEATER)
        mine = commands & (program.target == heater)
        on = np.flatnonzero(mine & ~after)
        if not len(on) or program.value[on[-1]] == 0.0 or np.any(waits & mine):
            continue
        later = np.flatnonzero(mine & after)
        if len(later) and np.all(np.isin(program.op[last + 1 : later[0]], _TAKES_NO_TIME)):
            continue  # off at once already
        rows.append(_set(program, last, heater, 0.0))
    return inserted(program, last + 1, rows) if rows else program


def cool_bed_after_first_layers(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Lower the bed to the material's holding temperature once the first millimetre stands."""
    if material is None or material.bed_hold is None:
        return program
    work = works(program) & (program.z_m > FIRST_LAYERS_M)
    if not work.any() or not np.any(program.extrude_m3 > 0.0):
        return program
    at = int(np.argmax(work))
    mine = ((program.op == Op.SET_HEATER) | (program.op == Op.WAIT_HEATER)) & (program.target == Heater.BED)
    before = np.flatnonzero(mine[:at])
    if not len(before) or program.value[before[-1]] <= material.bed_hold:
        return program
    return inserted(program, at, [_set(program, at, Heater.BED, material.bed_hold)])


def wait_for_heat(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Wait for nozzle and bed before the first filament, where the program only switches them on."""
    fed = np.flatnonzero(program.extrude_m3 > 0.0)
    if not len(fed):
        return program
    first = int(fed[0])
    rows = []
    for heater in (Heater.BED, Heater.HOTEND):
        mine = program.target[:first] == heater
        commands = np.flatnonzero(mine & np.isin(program.op[:first], (Op.SET_HEATER, Op.WAIT_HEATER)))
        if len(commands) and program.value[commands[-1]] > 0.0 and program.op[commands[-1]] == Op.SET_HEATER:
            value = float(program.value[commands[-1]])
            waited = np.flatnonzero(mine & (program.op[:first] == Op.WAIT_HEATER))
            if not len(waited) or program.value[waited[-1]] < value:
                rows.append({**_set(program, first, heater, value), "op": Op.WAIT_HEATER})
    return inserted(program, first, rows) if rows else program


def _set(program: Program, near: int, heater: Heater, value: float) -> dict[str, float]:
    return {"op": Op.SET_HEATER, "target": heater, "value": value, "line": int(program.line[near])}


def _last_work(program: Program) -> int:
    work = np.flatnonzero(works(program))
    return int(work[-1]) if len(work) else -1


def _first(program: Program, op: Op, heater: Heater) -> int:
    found = np.flatnonzero((program.op == op) & (program.target == heater) & (program.value > 0.0))
    return int(found[0]) if len(found) else -1


def _first_on(program: Program, heater: Heater) -> int:
    """First instruction that switches a heater on; -1 when none does."""
    heats = np.isin(program.op, (Op.SET_HEATER, Op.WAIT_HEATER))
    found = np.flatnonzero(heats & (program.target == heater) & (program.value > 0.0))
    return int(found[0]) if len(found) else -1
