"""Compile and cache the twin's numeric loops; called at build time and before the node's first sample."""

from __future__ import annotations

from industriverse_core.errors import PredictionError
from industriverse_core.machine import MachineProfile, load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion
from industriverse_core.program import Heater, Op, Program, build_program
from twin_node.autocorrect.geometry import deviation
from twin_node.autocorrect.moves import merge_moves
from twin_node.autocorrect.travel import shorten_travel
from twin_node.body.body import Body
from twin_node.oracle import predict
from twin_node.shadow import ThermalTwin
from twin_node.timeline import build_timeline, machine_vector
from twin_node.voxels import energy_voxels, voxel_edges_m


def warm_up() -> None:
    """Predict and rewrite one tiny job, put it into voxels, step one heater, the air of an enclosure and a body."""
    from twin_node import thermal_kernels as kernels

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
    deviation(program, merge_moves(program, profile, None))
    islands = [
        {"op": op, "x_m": 0.01 * x, "feed_m_s": 0.05, "extrude_m3": fed}
        for x in (1, 9, 2, 8, 3)
        for op, fed in ((Op.STRAIGHT_TRAVERSE, 0.0), (Op.STRAIGHT_FEED, 1e-9))
    ]
    shorten_travel(build_program(islands), profile, None)
    if profile.bed is not None:
        ThermalTwin(profile.bed, 25.0).step(25.0, 60.0, 0.0, 0.0, 1.0)
    kernels.warm_air(machine_vector(profile, None), 25.0, 1.0, 1.0)
    _move(program, profile)


def _move(program: Program, profile: MachineProfile) -> None:
    """Two steps of the body, where MuJoCo is installed."""
    try:
        body = Body(profile)
    except PredictionError:
        return
    body.follow(program, plan_motion(program, profile))
    body.advance(2)
