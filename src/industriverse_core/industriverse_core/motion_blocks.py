"""What the planner's compiled loops share: rows of a block, what is kept of the block before, codes.

A block is a straight piece of motion: a move, or one segment of an arc. Its unit vector of four is (x, y, z, filament)
for one metre of path; where only filament moves, the path is the filament's.
"""

from __future__ import annotations

from industriverse_core.program import Limit

MARLIN, GRBL, KLIPPER = 0, 1, 2  # families of controllers

# rows of the array of blocks, shape (BLOCK_SIZE or KLIPPER_BLOCK_SIZE, count)
LENGTH, NOMINAL, ACCELERATION, ENTRY = range(4)  # [m], [m/s], [m/s^2], highest entry speed squared [m^2/s^2]
SMOOTHED, SMOOTHED_GAIN = 4, 5  # Klipper alone: the same with smoothing, what it may grow over the block
BLOCK_SIZE, KLIPPER_BLOCK_SIZE = 4, 6

# what a block's junction needs of the block before: unit vector (0 to 3) and
SPEED_BEFORE, SAFE_BEFORE = 4, 5
PATH_BEFORE, DEVIATION_BEFORE, ACCELERATION_BEFORE, GAIN_BEFORE, REACH_BEFORE, SMOOTHED_REACH_BEFORE = range(6, 12)
BEFORE_SIZE = 12

# settings of the machine that no program changes
RAPID, ARC_RESOLUTION, CIRCLE_SEGMENTS, CORNER_SQUARED, SMOOTHING = range(5)  # m/s, m, -, (m/s)^2, -
SETTINGS_SIZE = 5

ACCELERATION_LIMIT, SPEED_LIMIT, JERK_LIMIT = int(Limit.ACCELERATION_X), int(Limit.SPEED_X), int(Limit.JERK_X)
PRINT_ACCELERATION, TRAVEL_ACCELERATION = int(Limit.PRINT_ACCELERATION), int(Limit.TRAVEL_ACCELERATION)
RETRACT_ACCELERATION, JUNCTION_DEVIATION = int(Limit.RETRACT_ACCELERATION), int(Limit.JUNCTION_DEVIATION)
PRESSURE_ADVANCE = 63  # [s], kept beside the limits
LIMIT_COUNT = 64  # limits are kept in an array indexed by Limit
SMALLEST = 5e-10  # [m/s], [m/s^2]: half of the grid on which limits lie; less is none

NOT_FINITE, NO_SPEED, NO_ACCELERATION, NO_LIMIT, NO_TIME, TOO_MANY = range(1, 7)  # why a row cannot be planned
