"""Milling power by specific cutting energy and removal rate: P = P0 + k v (Gutowski, Dahmus, Thiriez 2006).

P0 is the spindle turning in air, k the material's cutting energy, v the volume removed a second. k depends on
chip thickness and tool (Mitsubishi Materials' tables give 0.4 to 0.7 J/mm^3 for aluminium); the spindle's
`uncertainty` is that of k.
"""

from __future__ import annotations

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Program
from industriverse_core.stock import simulate_removal

AVERAGING_S = 1.0  # a spindle's inertia and drive carry it over shorter peaks


def removed_m3(program: Program, profile: MachineProfile, stock: Box | None) -> np.ndarray | None:
    """Volume [m^3] that each instruction cuts, shape (n,); None where machine or stock say nothing about it.

    Raises PredictionError (core's stock.py).
    """
    blank = stock if stock is not None else profile.stock
    if profile.spindle is None or blank is None:
        return None
    return simulate_removal(program, profile, blank).removed_m3


def cutting_j(volume_m3: np.ndarray, material: Material | None) -> np.ndarray:
    """Electric energy [J] above the idle spindle's, k V, shape (n,); 0 for a material whose k is not known."""
    k = material.cutting_energy if material is not None and material.cutting_energy is not None else 0.0
    return k * volume_m3


def mean_power_w(energy_j: np.ndarray, duration_s: np.ndarray, over_s: float) -> np.ndarray:
    """Mean power [W] over the last `over_s` seconds at the end of each step, shape (n,); shorter at the beginning.

    Energy is spread evenly over each step. Before the first step no energy was used.
    """
    end = np.concatenate([[0.0], np.cumsum(duration_s)])
    total = np.concatenate([[0.0], np.cumsum(energy_j)])
    return (total[1:] - np.interp(end[1:] - over_s, end, total)) / over_s


def check_spindle_power(
    program: Program, profile: MachineProfile, cutting: np.ndarray, idle_w: np.ndarray, duration_s: np.ndarray
) -> None:
    """Raises PredictionError (CANNOT_PREDICT) where the cut needs more than the spindle's highest power."""
    if profile.spindle is None or profile.spindle.max_power is None or not cutting.any():
        return
    power = mean_power_w(cutting, duration_s, AVERAGING_S) + idle_w
    worst = int(np.argmax(power))
    if power[worst] > profile.spindle.max_power:
        raise PredictionError(
            ErrorCode.CANNOT_PREDICT,
            f"line {int(program.columns['line'][worst])}: the cut needs {power[worst]:.0f} W of the spindle over "
            f"{AVERAGING_S:g} s; {profile.id} has {profile.spindle.max_power:.0f} W and would stall.",
            "Lower the feed or the depth of cut.",
        )
