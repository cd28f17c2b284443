"""The thermal loops, compiled by numba. Imported lazily: numba is heavy.

A heater is one lumped node, C dT/dt = u - UA (T - T_a) - F, with an ideal controller: full power below the
target, none above it, at the target exactly what is lost. Each interval is solved in closed form, so steps of
any length are exact for a constant target, fan and flow.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from twin_node.steps import WAIT_BED, WAIT_NONE

Array = np.ndarray
MAX_WAIT_S = 4.0 * 3600.0  # a heater that has not reached its target by then never will

# one heater: indices of its parameters
POWER, CAPACITY, LOSS, FAN_LOSS, WINDOW, SETTLE = range(6)
# indices of the machine's other parameters
AMBIENT, CP_SOLID, CP_MELT, SOFTENING, MOTION_SCALE, HOMING_SCALE, MASS_SCALE = range(7)
# rows of the result
DURATION, HOTEND_C, BED_C, HOTEND_J, BED_J, HOTEND_LOST_J, BED_LOST_J, WORK_J, HOTEND_PEAK_W, BED_PEAK_W = range(10)
RESULT_SIZE = 10


@compiled
def advance(
    heater: Array, ambient_c: float, temperature_c: float, target_c: float, fan: float, flow_w: float, dt: float
) -> tuple[float, float, float, float]:
    """One heater over `dt` seconds.

    Returns (temperature at the end [degC], electric energy [J], heat lost to the room [J], peak power [W]).
    """
    loss = heater[LOSS] + heater[FAN_LOSS] * fan
    tau = heater[CAPACITY] / loss
    hold = loss * (target_c - ambient_c) + flow_w
    on = target_c > ambient_c
    here, electric, lost, peak, left = temperature_c, 0.0, 0.0, 0.0, dt
    reachable = 0.0 <= hold <= heater[POWER]
    if here != target_c or not on or not reachable:
        drive = heater[POWER] if on and (here < target_c or (here == target_c and hold > heater[POWER])) else 0.0
        settled = ambient_c + (drive - flow_w) / loss
        ramp = left
        if on and reachable and (settled - target_c) * (target_c - here) > 0.0:
            ramp = min(left, tau * math.log((settled - here) / (settled - target_c)))
        decay = math.exp(-ramp / tau)
        electric = drive * ramp
        lost = loss * ((settled - ambient_c) * ramp + (here - settled) * tau * (1.0 - decay))
        peak = drive if ramp > 0.0 else 0.0
        here = target_c if ramp < left else settled + (here - settled) * decay
        left -= ramp
    if left > 0.0:
        electric += hold * left
        lost += loss * (target_c - ambient_c) * left
        peak = max(peak, hold)
    return here, electric, lost, peak


@compiled
def time_to_window(
    heater: Array, ambient_c: float, temperature_c: float, target_c: float, fan: float, flow_w: float
) -> float:
    """Seconds of full power until the heater enters its wait's window; inf when it never does."""
    goal = target_c - heater[WINDOW]
    if temperature_c >= goal:
        return 0.0
    loss = heater[LOSS] + heater[FAN_LOSS] * fan
    settled = ambient_c + (heater[POWER] - flow_w) / loss
    if settled <= goal:
        return math.inf
    return heater[CAPACITY] / loss * math.log((settled - temperature_c) / (settled - goal))


@compiled
def enthalpy_j_per_kg(machine: Array, temperature_c: float) -> float:
    """Heat to bring the material from the room to a temperature (as Material.print_enthalpy_j_per_kg)."""
    solid = machine[CP_SOLID] * (min(temperature_c, machine[SOFTENING]) - machine[AMBIENT])
    return max(0.0, solid + machine[CP_MELT] * max(0.0, temperature_c - machine[SOFTENING]))


@compiled
def simulate(
    motion_s: Array, homing_s: Array, dwell_s: Array, wait: Array, hotend_target: Array, bed_target: Array,
    fan: Array, melted_kg: Array, hotend: Array, bed: Array, machine: Array, start_c: Array, result: Array,
) -> int:  # fmt: skip
    """The whole job. Fills `result`, shape (RESULT_SIZE, n); temperatures are those at the end of each step.

    Returns the first step whose heater cannot reach its target, or -1.
    """
    hot, warm, ambient = start_c[0], start_c[1], machine[AMBIENT]
    stuck = -1
    for i in range(len(motion_s)):
        duration = motion_s[i] * machine[MOTION_SCALE] + homing_s[i] * machine[HOMING_SCALE] + dwell_s[i]
        if wait[i] != WAIT_NONE:
            heater, here, target = hotend, hot, hotend_target[i]
            if wait[i] == WAIT_BED:
                heater, here, target = bed, warm, bed_target[i]
            needed = 0.0
            if target > ambient and here <= target:  # a wait does not wait for cooling
                needed = time_to_window(heater, ambient, here, target, fan[i], 0.0) + heater[SETTLE]
            if needed > MAX_WAIT_S:
                needed = MAX_WAIT_S
                stuck = i if stuck < 0 else stuck
            duration += needed
        work = melted_kg[i] * machine[MASS_SCALE] * enthalpy_j_per_kg(machine, hot)
        flow = work / duration if duration > 0.0 else 0.0
        if duration <= 0.0:
            work = 0.0
        hot, result[HOTEND_J, i], result[HOTEND_LOST_J, i], result[HOTEND_PEAK_W, i] = advance(
            hotend, ambient, hot, hotend_target[i], fan[i], flow, duration
        )
        warm, result[BED_J, i], result[BED_LOST_J, i], result[BED_PEAK_W, i] = advance(
            bed, ambient, warm, bed_target[i], fan[i], 0.0, duration
        )
        result[DURATION, i], result[WORK_J, i] = duration, work
        result[HOTEND_C, i], result[BED_C, i] = hot, warm
    return stuck


@compiled
def simulate_draws(
    motion_s: Array, homing_s: Array, dwell_s: Array, wait: Array, hotend_target: Array, bed_target: Array,
    fan: Array, melted_kg: Array, hotend: Array, bed: Array, machine: Array, start_c: Array, hotend_fan_c: float,
    sums: Array,
) -> None:  # fmt: skip
    """The job once for each draw of the parameters (rows of `hotend`, `bed`, `machine`).

    `sums`, shape (RESULT_SIZE + 1, draws): each row of the result added up over the steps (peaks: their
    maximum, temperatures: at the end), and last the time for which the hot end's fan runs.
    """
    count = len(motion_s)
    result = np.zeros((RESULT_SIZE, count))
    for k in range(hotend.shape[0]):
        simulate(
            motion_s, homing_s, dwell_s, wait, hotend_target, bed_target, fan, melted_kg, hotend[k], bed[k],
            machine[k], start_c, result,
        )  # fmt: skip
        for row in range(RESULT_SIZE):
            if row in (HOTEND_PEAK_W, BED_PEAK_W):
                sums[row, k] = result[row].max()
            elif row in (HOTEND_C, BED_C):
                sums[row, k] = result[row, count - 1]
            else:
                sums[row, k] = result[row].sum()
        sums[RESULT_SIZE, k] = np.sum(result[DURATION] * (result[HOTEND_C] > hotend_fan_c))
