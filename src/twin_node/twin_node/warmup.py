"""Compile and cache the twin's numeric loops; called at build time and before the node's first sample."""

from __future__ import annotations

from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Heater, Op, build_program
from twin_node.oracle import predict
from twin_node.shadow import ThermalTwin
from twin_node.timeline import build_timeline
from twin_node.voxels import energy_voxels, voxel_edges_m


def warm_up() -> None:
    """Predict one tiny job, put it into voxels, and step one heater."""
    profile = load_machine("prusa_mk3s")
    program = build_program(
        [
            {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 60.0},
            {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.05, "extrude_m3": 1e-9},
            {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1},
        ]
    )
    material = load_material("PLA")
    predict(program, profile, material)
    energy_voxels(build_timeline(program, profile, material), profile, material, voxel_edges_m(program))
    if profile.bed is not None:
        ThermalTwin(profile.bed, 25.0).step(25.0, 60.0, 0.0, 0.0, 1.0)
