"""What the rooms tell each other about a job, its permits and its execution; numbers as in the messages.

Which state follows which stands in the table of the room that keeps the state. MachineState is in telemetry.py.
"""

from __future__ import annotations

from enum import IntEnum

MAX_COPIES = 100  # of one job


class JobStage(IntEnum):
    """How far a job is. Values as in JobState.msg."""

    RECEIVED = 1
    COMPILED = 2
    CHECKED = 3
    PREDICTED = 4
    PRICED = 5
    APPROVED = 6
    PERMITTED = 7
    EXECUTING = 8
    HELD = 9
    COMPLETED = 10
    ABORTED = 11
    REFUSED = 12


class Safety(IntEnum):
    """What the shield does. Permits go out in PERMITTING and nowhere else. Values as in SafetyState.msg."""

    IDLE = 1
    ARMED = 2
    PERMITTING = 3
    WITHHELD = 4
    LATCHED = 5


class Outcome(IntEnum):
    """How an execution ended. Values as in ExecuteProgram.action."""

    COMPLETED = 1
    STOPPED = 2
    REFUSED = 3
    FAULT = 4


def state_name(kind: type[IntEnum], number: int) -> str:
    """A number from a message in words for people: 'executing'; 'unknown' where there is no such state."""
    return kind(number).name.lower() if number in set(kind) else "unknown"
