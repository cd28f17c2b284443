"""The permit state machine: one table, nothing hidden elsewhere. `python -m shield_node.transitions` draws it."""

from __future__ import annotations

from enum import IntEnum, auto

from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.state_table import StateTable
from industriverse_core.states import Safety as State


class Event(IntEnum):
    """What can happen to the shield of one machine."""

    ARM = auto()  # the conductor asks for a program that passed the gates
    DISARM = auto()  # the execution is over
    FRESH = auto()  # every source is fresh, and nothing asks to stand still
    STALE = auto()  # a source is older than its limit
    HOLD = auto()  # a threat or a person asks to stand still
    GRACE_OVER = auto()  # withheld for longer than the grace time, or than the longest hold for a person
    STOP = auto()  # a stop request, a restarted source, a fault or latch of the machine, a threat, a person
    CLEAR = auto()  # the operator's second step


def _refusal(state: State, event: Event) -> PermitError:
    if state is State.LATCHED:
        code, remedy = ErrorCode.LATCHED, "Clear the stop first: industriverse clear --reason '...'."
    else:
        code, remedy = ErrorCode.ALREADY_ARMED, "Wait until the running execution has ended."
    return PermitError(code, f"The shield is {state.name}; {event.name} is not possible.", remedy)


TABLE = StateTable(
    State.IDLE,
    {
        (State.IDLE, Event.ARM): State.ARMED,
        (State.IDLE, Event.DISARM): State.IDLE,
        (State.IDLE, Event.STOP): State.LATCHED,
        (State.ARMED, Event.FRESH): State.PERMITTING,
        (State.ARMED, Event.DISARM): State.IDLE,
        (State.ARMED, Event.STOP): State.LATCHED,
        (State.PERMITTING, Event.STALE): State.WITHHELD,
        (State.PERMITTING, Event.HOLD): State.WITHHELD,
        (State.PERMITTING, Event.DISARM): State.IDLE,
        (State.PERMITTING, Event.STOP): State.LATCHED,
        (State.WITHHELD, Event.FRESH): State.PERMITTING,
        (State.WITHHELD, Event.GRACE_OVER): State.LATCHED,
        (State.WITHHELD, Event.DISARM): State.IDLE,
        (State.WITHHELD, Event.STOP): State.LATCHED,
        (State.LATCHED, Event.STOP): State.LATCHED,
        (State.LATCHED, Event.DISARM): State.LATCHED,
        (State.LATCHED, Event.CLEAR): State.IDLE,
    },
    _refusal,
)


if __name__ == "__main__":
    print(TABLE.diagram(), end="")
