"""One file of a folder: read, predicted, priced, and on request checked and put into voxels. One row, or a refusal."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from industriverse_cli.choosing import Chosen, read_chosen
from industriverse_cli.corpus.rows import INTERVALS, Row, Settings, Task, first_row, refuse
from industriverse_core.errors import CoreError, ErrorCode, InputError

if TYPE_CHECKING:
    from industriverse_core.machine import MachineProfile
    from industriverse_core.material import Material
    from industriverse_core.program import Program
    from twin_node.timeline import Timeline
    from twin_node.voxels import EnergyVoxels


def analyse(task: Task, settings: Settings) -> Row:
    """The row of one file. Whatever is wrong with the file is in its row; only bugs raise."""
    wall, cpu = time.perf_counter(), time.process_time()
    row = first_row(task)
    try:
        _analyse(task, settings, row)
        row["ok"] = True
    except CoreError as error:
        refuse(row, error)
    except MemoryError:
        limit = f"{settings.memory_bytes / 1e9:.1f} GB"
        what = f"{task.name}: needs more than the {limit} that a worker may take."
        refuse(row, InputError(ErrorCode.FILE_TOO_LARGE, what, "Use fewer workers, or split the program."))
    row["wall_s"], row["cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu
    return row


def _analyse(task: Task, settings: Settings, row: Row) -> None:
    from twin_node.voxel_file import write_voxels

    if task.size > settings.max_bytes:
        raise InputError(
            ErrorCode.FILE_TOO_LARGE,
            f"{task.name}: {task.size / 1e6:.0f} MB, at most {settings.max_bytes / 1e6:.0f} MB are read.",
            "Raise --max-mb, or split the program.",
        )
    voxels = judge(read_chosen(settings.folder / task.name, settings.machine), settings, row)
    if voxels is not None:
        place = voxel_place(task.name)
        write_voxels(voxels, settings.output / place)
        row |= {"voxel_file": str(place), "voxels": len(voxels)}


def judge(chosen: Chosen, settings: Settings, row: Row) -> EnergyVoxels | None:
    """Fill the row with what is asked of a program, as far as it gets; its voxels, if they are asked for."""
    from industriverse_core.material import resolve_material
    from twin_node.timeline import build_timeline

    program, profile = chosen.program, chosen.profile
    _describe(program, row)
    row |= {"machine": profile.id, "machine_from": chosen.source}
    material = resolve_material(settings.material or program.metadata.material, profile.kind)
    row["material"] = material.id
    if settings.gates:
        _check(program, profile, material, row)
    timeline = build_timeline(program, profile, material)
    _predict(timeline, profile, material, settings, row)
    return _voxels(timeline, profile, material, settings) if settings.voxels else None


def _describe(program: Program, row: Row) -> None:
    meta = program.metadata
    row |= {
        "program_digest": program.digest.hex(),
        "dialect": meta.dialect,
        "slicer": meta.generator,
        "slicer_machine": meta.machine,
        "slicer_material": meta.material,
        "slicer_time_s": meta.slicer_time_s or None,
        "layer_height_m": meta.layer_height_m or None,
        "source_lines": meta.source_line_count,
        "instructions": len(program),
        "unread_lines": sum(note.kind != "ignored" for note in program.notes),
    }


def _check(program: Program, profile: MachineProfile, material: Material, row: Row) -> None:
    from shield_node.gates import check

    report = check(program, profile, material)
    row |= {
        "gate_verdict": report.verdict.name.lower(),
        "gate_errors": report.error_count,
        "gate_warnings": report.warning_count,
    }
    if report.findings:
        row |= {"gate_rule": report.findings[0].rule, "gate_message": report.findings[0].message}


def _predict(timeline: Timeline, profile: MachineProfile, material: Material, settings: Settings, row: Row) -> None:
    from twin_node.oracle import expected_of, prediction_of
    from twin_node.price import expected_price
    from twin_node.tariff import load_tariff

    prediction = (prediction_of if settings.intervals else expected_of)(timeline, profile, material)
    for name in (*INTERVALS, "filament_m"):
        row[name] = getattr(prediction, name).mean
    for part, energy in prediction.energy_by_subsystem_j.items():
        row[f"energy_{part.name.lower()}_j"] = energy.mean
    if settings.intervals:
        for name in INTERVALS:
            estimate = getattr(prediction, name)
            row[f"{name}_low"], row[f"{name}_high"] = estimate.low, estimate.high
    tariff = load_tariff(settings.tariff)
    price, carbon_kg = expected_price(prediction, profile, material, tariff)
    row |= {"price": price, "currency": tariff.currency, "carbon_kg": carbon_kg}


def _voxels(timeline: Timeline, profile: MachineProfile, material: Material, settings: Settings) -> EnergyVoxels:
    from industriverse_cli.voxels import metres
    from twin_node.voxels import energy_voxels, voxel_edges_m

    edges_m = voxel_edges_m(timeline.program, metres(settings.voxel_mm), metres(settings.voxel_height_mm))
    return energy_voxels(timeline, profile, material, edges_m)


def voxel_place(name: str) -> Path:
    """Where a file's voxels lie below the output folder: one of 256 folders, by the SHA-256 of its path."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return Path("voxels") / digest[:2] / f"{digest[:32]}.h5"
