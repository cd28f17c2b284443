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

# settings of the machine as an array; of these, Klipper's programs change speed, corner and smoothing
RAPID, ARC_RESOLUTION, CIRCLE_SEGMENTS, CORNER_SQUARED, SMOOTHING = range(5)  # m/s, m, -, (m/s)^2, -
SETTINGS_SIZE = 5

ACCELERATION_LIMIT, SPEED_LIMIT, JERK_LIMIT = int(Limit.ACCELERATION_X), int(Limit.SPEED_X), int(Limit.JERK_X)
PRINT_ACCELERATION, TRAVEL_ACCELERATION = int(Limit.PRINT_ACCELERATION), int(Limit.TRAVEL_ACCELERATION)
RETRACT_ACCELERATION, JUNCTION_DEVIATION = int(Limit.RETRACT_ACCELERATION), int(Limit.JUNCTION_DEVIATION)
CRUISE_RATIO, TOOLHEAD_SPEED = int(Limit.MINIMUM_CRUISE_RATIO), int(Limit.TOOLHEAD_SPEED)
SQUARE_CORNER = int(Limit.SQUARE_CORNER_VELOCITY)
PRESSURE_ADVANCE = 63  # [s], kept beside the limits
LIMIT_COUNT = 64  # limits are kept in an array indexed by Limit
SMALLEST = 5e-10  # [m/s], [m/s^2]: half of the grid on which limits lie; less is none

NOT_FINITE, NO_SPEED, NO_ACCELERATION, NO_LIMIT, NO_TIME, TOO_MANY = range(1, 7)  # why a row cannot be planned

# The compiled functions of the families pass plain tuples of floats: numba counts references to arrays at each call.
# Limits in force: inverse speeds, accelerations and jerks of x, y, z, filament, then the values themselves
Rates = tuple[float, ...]
INVERSE_SPEED, INVERSE_ACCELERATION, INVERSE_JERK, JERK = 0, 4, 8, 12
PRINT, TRAVEL, RETRACT, ADVANCE, DEVIATION, FAST, CORNER, SMOOTH = range(16, 24)

# What a junction needs of the block before: unit vector (0 to 3) and, as far as the family has it,
Before = tuple[float, ...]
SPEED_BEFORE, SAFE_BEFORE, PATH_BEFORE, DEVIATION_BEFORE, ACCELERATION_BEFORE, GAIN_BEFORE = range(4, 10)
REACH_BEFORE, SMOOTHED_REACH_BEFORE = 10, 11
BEFORE_SIZE = 12

# What a family answers: why not (0 = planned), nominal speed, acceleration, highest entry speed squared, the same
# smoothed, smoothed gain, and the Before of the next block
Unit = tuple[float, float, float, float]
Block = tuple[int, float, float, float, float, float, Before]
