"""The thermal loops, compiled by numba. Imported lazily: numba is heavy.

Lumped nodes: heater block, bed, part, air of the enclosure; the room is a constant. A heater is one node,
C dT/dt = u - UA (T - T_air) - F, with an ideal controller: full power below the target, none above it, at the
target exactly what is lost. Each interval is solved in closed form, so steps of any length are exact for a constant
target, fan, flow and air. Without an enclosure the air is the room. With one, the air is held while a step's
other nodes advance and then takes up what they gave; steps are cut so short that it moves little meanwhile.

Part: the mass deposited so far, at one temperature; it takes the melt's enthalpy and exchanges heat with the air
(h = 10 W/(m^2 K), with full fan 40, over 12 V^(2/3)) and with the bed under it (100 W/(m^2 K) over 2 V^(2/3)):
textbook free and forced convection, and a few millimetres of plastic; assumptions, as is the shape. What passes from
the bed into the part is a share of the bed's own loss, so only the part's net loss is booked.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from twin_node.steps import HOTEND_FAN_ON_C, WAIT_BED, WAIT_NONE

Array = np.ndarray
MAX_WAIT_S = 4.0 * 3600.0  # a heater that has not reached its target by then never will

# one heater: indices of its parameters
POWER, CAPACITY, LOSS, FAN_LOSS, WINDOW, SETTLE = range(6)
# indices of the machine's other parameters; without a DENSITY the part is left out
AMBIENT, CP_SOLID, CP_MELT, SOFTENING, DENSITY, AIR_CAPACITY, AIR_LOSS = range(7)
HOTEND_FAN_W, MOTION_SCALE, HOMING_SCALE, MASS_SCALE = range(7, 11)
# rows of the result; LOST: heat from both heaters that reached the room (what warms the air has not)
DURATION, HOTEND_C, BED_C, AIR_C, PART_C, HOTEND_J, BED_J, LOST_J, WORK_J, PART_LOST_J = range(10)
HOTEND_PEAK_W, BED_PEAK_W = 10, 11
RESULT_SIZE = 12
LAST_TEMPERATURE, FIRST_PEAK = PART_C, HOTEND_PEAK_W
# the nodes' state
HOT, WARM, AIR, PART, PART_KG = range(5)
STATE_SIZE = 5

AIR_STEP_SHARE = 0.05  # of the air's time constant; the longest step while it is held
AIR_W_M2K, AIR_FAN_W_M2K, BED_W_M2K = 10.0, 30.0, 100.0
PART_AREA, PART_BASE = 12.0, 2.0  # times V^(2/3)


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
def time_to_cool(
    heater: Array, ambient_c: float, temperature_c: float, target_c: float, fan: float, flow_w: float
) -> float:
    """Seconds without power until the heater falls to its wait's window; inf when it never does."""
    goal = target_c + heater[WINDOW]
    if temperature_c <= goal:
        return 0.0
    loss = heater[LOSS] + heater[FAN_LOSS] * fan
    settled = ambient_c - flow_w / loss
    if settled >= goal:
        return math.inf
    return heater[CAPACITY] / loss * math.log((temperature_c - settled) / (goal - settled))


@compiled
def temperature_of(machine: Array, enthalpy: float) -> float:
    """The inverse of enthalpy_j_per_kg [degC]."""
    soft = machine[CP_SOLID] * (machine[SOFTENING] - machine[AMBIENT])
    if enthalpy <= soft:
        return float(machine[AMBIENT] + enthalpy / machine[CP_SOLID])
    return float(machine[SOFTENING] + (enthalpy - soft) / machine[CP_MELT])


@compiled
def _part(machine: Array, state: Array, fan: float, mass_kg: float, work_j: float, dt: float) -> float:
    """The part over `dt`: takes up mass and enthalpy, then relaxes. Returns the heat that it gave away [J]."""
    mass = state[PART_KG] + mass_kg
    if mass <= 0.0:
        return 0.0
    held = state[PART_KG] * _signed_enthalpy(machine, state[PART]) + work_j
    state[PART_KG] = mass
    mixed = temperature_of(machine, held / mass)
    side = np.cbrt(mass / machine[DENSITY]) ** 2
    to_air = (AIR_W_M2K + AIR_FAN_W_M2K * fan) * PART_AREA * side
    to_bed = BED_W_M2K * PART_BASE * side
    settled = (to_air * state[AIR] + to_bed * state[WARM]) / (to_air + to_bed)
    capacity = machine[CP_MELT] if mixed > machine[SOFTENING] else machine[CP_SOLID]
    state[PART] = settled + (mixed - settled) * math.exp(-dt * (to_air + to_bed) / (mass * capacity))
    return float(held - mass * _signed_enthalpy(machine, state[PART]))


@compiled
def _signed_enthalpy(machine: Array, temperature_c: float) -> float:
    """As enthalpy_j_per_kg, also below the room's temperature."""
    solid = machine[CP_SOLID] * (min(temperature_c, machine[SOFTENING]) - machine[AMBIENT])
    return float(solid + machine[CP_MELT] * max(0.0, temperature_c - machine[SOFTENING]))


@compiled
def warm_air(machine: Array, air_c: float, given_j: float, dt: float) -> float:
    """Temperature of the enclosure's air [degC] after it took `given_j` evenly over `dt`; the room's without one."""
    if machine[AIR_CAPACITY] <= 0.0 or dt <= 0.0:
        return float(air_c if machine[AIR_CAPACITY] > 0.0 else machine[AMBIENT])
    settled = machine[AMBIENT] + given_j / dt / machine[AIR_LOSS]
    return float(settled + (air_c - settled) * math.exp(-dt * machine[AIR_LOSS] / machine[AIR_CAPACITY]))


@compiled
def _advance_all(
    hotend: Array, bed: Array, machine: Array, state: Array, hotend_target: float, bed_target: float, fan: float,
    inside_w: float, mass_rate: float, dt: float, result: Array, i: int,
) -> None:  # fmt: skip
    """All nodes over `dt`; adds to column `i` of the result."""
    air = state[AIR]
    work = mass_rate * dt * enthalpy_j_per_kg(machine, state[HOT])
    state[HOT], joules, hot_lost, peak = advance(hotend, air, state[HOT], hotend_target, fan, work / dt, dt)
    result[HOTEND_J, i] += joules
    result[HOTEND_PEAK_W, i] = max(result[HOTEND_PEAK_W, i], peak)
    state[WARM], joules, bed_lost, peak = advance(bed, air, state[WARM], bed_target, fan, 0.0, dt)
    result[BED_J, i] += joules
    result[BED_PEAK_W, i] = max(result[BED_PEAK_W, i], peak)
    part_lost = _part(machine, state, fan, mass_rate * dt, work, dt) if machine[DENSITY] > 0.0 else 0.0
    kept = 0.0
    if machine[AIR_CAPACITY] > 0.0:
        hotend_fan = machine[HOTEND_FAN_W] if state[HOT] > HOTEND_FAN_ON_C else 0.0
        state[AIR] = warm_air(machine, air, hot_lost + bed_lost + part_lost + (inside_w + hotend_fan) * dt, dt)
        kept = machine[AIR_CAPACITY] * (state[AIR] - air)
    result[DURATION, i] += dt
    result[WORK_J, i] += work
    result[PART_LOST_J, i] += part_lost
    result[LOST_J, i] += hot_lost + bed_lost - kept


@compiled
def _needed(heater: Array, air: float, here: float, target: float, fan: float, cools: bool) -> float:
    """Seconds until a wait ends, but for its settling. A wait that does not wait for cooling ends at once when hot."""
    if target > air and here <= target:
        return time_to_window(heater, air, here, target, fan, 0.0)
    return time_to_cool(heater, air, here, target, fan, 0.0) if cools else 0.0


@compiled
def _wait(
    bed_waits: bool, cools: bool, hotend: Array, bed: Array, machine: Array, state: Array, hotend_target: float,
    bed_target: float, fan: float, inside_w: float, longest: float, result: Array, i: int,
) -> tuple[float, bool]:  # fmt: skip
    """Advance until the heater is in its window. Returns (its settling time, whether it never gets there)."""
    heater = bed if bed_waits else hotend
    target = bed_target if bed_waits else hotend_target
    began = state[WARM] if bed_waits else state[HOT]
    waited, needed, stuck = 0.0, 1.0, False
    while needed > 0.0:
        here = state[WARM] if bed_waits else state[HOT]
        needed = _needed(heater, state[AIR], here, target, fan, cools)
        step = min(needed, longest)
        if waited + step >= MAX_WAIT_S:
            step, needed, stuck = MAX_WAIT_S - waited, 0.0, True
        if step > 0.0:
            _advance_all(hotend, bed, machine, state, hotend_target, bed_target, fan, inside_w, 0.0, step, result, i)
            waited += step
        if step == needed:  # the closed form has brought it there
            needed = 0.0
    settles = waited > 0.0 or (target > state[AIR] and began <= target)
    return float(heater[SETTLE]) if settles else 0.0, stuck


@compiled
def simulate(
    motion_s: Array, homing_s: Array, dwell_s: Array, wait: Array, cools: Array, hotend_target: Array,
    bed_target: Array, fan: Array, inside_w: Array, melted_kg: Array, hotend: Array, bed: Array, machine: Array,
    start_c: Array, result: Array,
) -> int:  # fmt: skip
    """The whole job. Fills `result`, shape (RESULT_SIZE, n); temperatures are those at the end of each step.

    `start_c`: hot end, bed and air, and where a part is there already, its temperature and mass [kg]. Returns the first
    step whose heater cannot reach its target, or -1.
    """
    state = np.zeros(STATE_SIZE)
    state[: len(start_c)] = start_c
    enclosed = machine[AIR_CAPACITY] > 0.0
    if not enclosed:
        state[AIR] = machine[AMBIENT]
    if len(start_c) <= PART:
        state[PART] = state[AIR]
    longest = AIR_STEP_SHARE * machine[AIR_CAPACITY] / machine[AIR_LOSS] if enclosed else math.inf
    stuck = -1
    for i in range(len(motion_s)):
        result[:, i] = 0.0
        left = motion_s[i] * machine[MOTION_SCALE] + homing_s[i] * machine[HOMING_SCALE] + dwell_s[i]
        if wait[i] != WAIT_NONE:
            settling, never = _wait(
                wait[i] == WAIT_BED, cools[i], hotend, bed, machine, state, hotend_target[i], bed_target[i], fan[i],
                inside_w[i], longest, result, i,
            )  # fmt: skip
            left += settling
            if never and stuck < 0:
                stuck = i
        rate = melted_kg[i] * machine[MASS_SCALE] / left if left > 0.0 else 0.0
        while left > 0.0:
            step = min(left, longest)
            _advance_all(
                hotend, bed, machine, state, hotend_target[i], bed_target[i], fan[i], inside_w[i], rate, step, result, i
            )
            left -= step
        for row in range(HOTEND_C, LAST_TEMPERATURE + 1):
            result[row, i] = state[row - HOTEND_C]
    return stuck


@compiled
def simulate_draws(
    motion_s: Array, homing_s: Array, dwell_s: Array, wait: Array, cools: Array, hotend_target: Array,
    bed_target: Array, fan: Array, inside_w: Array, melted_kg: Array, hotend: Array, bed: Array, machine: Array,
    start_c: Array, sums: Array,
) -> None:  # fmt: skip
    """The job once for each draw of the parameters (rows of `hotend`, `bed`, `machine`).

    `sums`, shape (RESULT_SIZE + 1, draws): each row of the result added up over the steps (peaks: their
    maximum, temperatures: at the end), and last the time for which the hot end's fan runs.
    """
    count = len(motion_s)
    result = np.zeros((RESULT_SIZE, count))
    for k in range(hotend.shape[0]):
        simulate(
            motion_s, homing_s, dwell_s, wait, cools, hotend_target, bed_target, fan, inside_w, melted_kg, hotend[k],
            bed[k], machine[k], start_c, result,
        )  # fmt: skip
        for row in range(RESULT_SIZE):
            if row >= FIRST_PEAK:
                sums[row, k] = result[row].max()
            elif HOTEND_C <= row <= LAST_TEMPERATURE:
                sums[row, k] = result[row, count - 1]
            else:
                sums[row, k] = result[row].sum()
        sums[RESULT_SIZE, k] = np.sum(result[DURATION] * (result[HOTEND_C] > HOTEND_FAN_ON_C))
