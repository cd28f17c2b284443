"""The life of a job as one table. Every transition is here; the diagram in STATES.md is generated from it.

python -m conductor_node.states > STATES.md
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from industriverse_core.errors import ErrorCode, JobError
from industriverse_core.states import JobStage as State


class Trigger(StrEnum):
    """What can happen to a job."""

    BEGIN = "its turn"
    COMPILED = "program compiled"
    CHECKED = "gates accept"
    PREDICTED = "prediction made"
    PRICED = "price made"
    APPROVE = "approval given"
    READY = "machine ready"
    NOT_READY = "machine not ready"
    NOT_CHECKED = "shield does not know the program"
    ARMED = "program armed"
    PERMITTING = "permits seen"
    STARTED = "machine accepts"
    HELD = "hold seen"
    RESUMED = "motion seen again"
    STOPPING = "latched stop seen"
    COPY_MADE = "program executed"
    NEXT_COPY = "books closed, copies left"
    FINISHED = "books closed, last copy"
    LEDGER = "late books"
    REFUSED = "a stage refuses"
    FAILED = "a stage does not answer"
    STOPPED = "execution ended early"
    CANCEL = "cancelled"
    RESTARTED = "conductor restarted"


class Action(StrEnum):
    """What the loop controller does on a transition."""

    COMPILE = "compile"
    CHECK = "check"
    PREDICT = "predict"
    PRICE = "price"
    WAIT = "wait"
    ARM = "arm"
    EXPLAIN = "explain and wait"
    EXECUTE = "execute"
    NOTE = "note"
    STOP_EXECUTION = "stop the machine"
    CLOSE_LEDGER = "disarm and close the books"
    NEXT_COPY = "count on"
    ATTACH_LEDGER = "attach the books"
    START_AGAIN = "start again"
    END = "end"
    END_DISARMED = "disarm and end"
    END_EXECUTION = "stop, disarm, close the books, end"


@dataclass(frozen=True, slots=True)
class Transition:
    """In `state`, `trigger` leads to `next_state` and `action` is done."""

    state: State
    trigger: Trigger
    next_state: State
    action: Action


_BEFORE_APPROVAL = (State.RECEIVED, State.COMPILED, State.CHECKED, State.PREDICTED, State.PRICED)
_BEFORE_MOTION = (*_BEFORE_APPROVAL, State.APPROVED)
_IN_MOTION = (State.EXECUTING, State.HELD)
ENDED = frozenset({State.COMPLETED, State.ABORTED, State.REFUSED})
STARTED = frozenset({State.PERMITTED, *_IN_MOTION})

TABLE: tuple[Transition, ...] = (
    Transition(State.RECEIVED, Trigger.BEGIN, State.RECEIVED, Action.COMPILE),
    Transition(State.RECEIVED, Trigger.COMPILED, State.COMPILED, Action.CHECK),
    Transition(State.COMPILED, Trigger.CHECKED, State.CHECKED, Action.PREDICT),
    Transition(State.CHECKED, Trigger.PREDICTED, State.PREDICTED, Action.PRICE),
    Transition(State.PREDICTED, Trigger.PRICED, State.PRICED, Action.WAIT),
    # approval may come before the price is known: the follower of a job has said yes to it
    *(Transition(state, Trigger.APPROVE, state, Action.NOTE) for state in _BEFORE_APPROVAL[:-1]),
    Transition(State.PRICED, Trigger.APPROVE, State.APPROVED, Action.WAIT),
    Transition(State.APPROVED, Trigger.READY, State.APPROVED, Action.ARM),
    Transition(State.APPROVED, Trigger.NOT_READY, State.APPROVED, Action.EXPLAIN),
    Transition(State.APPROVED, Trigger.NOT_CHECKED, State.COMPILED, Action.CHECK),
    Transition(State.APPROVED, Trigger.ARMED, State.APPROVED, Action.WAIT),
    Transition(State.APPROVED, Trigger.PERMITTING, State.PERMITTED, Action.EXECUTE),
    Transition(State.PERMITTED, Trigger.STARTED, State.EXECUTING, Action.NOTE),
    Transition(State.EXECUTING, Trigger.HELD, State.HELD, Action.NOTE),
    Transition(State.HELD, Trigger.RESUMED, State.EXECUTING, Action.NOTE),
    *(Transition(state, Trigger.STOPPING, State.HELD, Action.NOTE) for state in _IN_MOTION),
    *(Transition(state, Trigger.COPY_MADE, State.EXECUTING, Action.CLOSE_LEDGER) for state in _IN_MOTION),
    Transition(State.EXECUTING, Trigger.NEXT_COPY, State.PRICED, Action.NEXT_COPY),
    Transition(State.EXECUTING, Trigger.FINISHED, State.COMPLETED, Action.END),
    # every way to end early
    *(Transition(state, Trigger.REFUSED, State.REFUSED, Action.END_DISARMED) for state in _BEFORE_MOTION),
    *(Transition(state, Trigger.FAILED, State.ABORTED, Action.END_DISARMED) for state in _BEFORE_MOTION),
    *(Transition(state, Trigger.CANCEL, State.ABORTED, Action.END_DISARMED) for state in _BEFORE_MOTION),
    Transition(State.PERMITTED, Trigger.CANCEL, State.ABORTED, Action.END_EXECUTION),
    *(Transition(state, Trigger.CANCEL, state, Action.STOP_EXECUTION) for state in _IN_MOTION),
    *(
        Transition(state, Trigger.STOPPED, State.ABORTED, Action.END_EXECUTION)
        for state in (State.PERMITTED, *_IN_MOTION)
    ),
    # an execution that ended early still has used energy; its books may come after its end
    Transition(State.ABORTED, Trigger.LEDGER, State.ABORTED, Action.ATTACH_LEDGER),
    # after a restart of the conductor: what had not moved starts again, what had moved is over
    *(Transition(state, Trigger.RESTARTED, State.RECEIVED, Action.START_AGAIN) for state in _BEFORE_MOTION),
    *(
        Transition(state, Trigger.RESTARTED, State.ABORTED, Action.END_EXECUTION)
        for state in (State.PERMITTED, *_IN_MOTION)
    ),
)
_BY_KEY = {(row.state, row.trigger): row for row in TABLE}


def transition(state: State, trigger: Trigger) -> Transition:
    """The row for a trigger in a state. Raises JobError (ILLEGAL_TRANSITION) when the table has none."""
    row = _BY_KEY.get((state, trigger))
    if row is None:
        allowed = [str(row.trigger) for row in TABLE if row.state is state] or ["nothing: it has ended"]
        raise JobError(
            ErrorCode.ILLEGAL_TRANSITION,
            f"A job that is {state.name.lower()} cannot take '{trigger}'; allowed: {', '.join(allowed)}.",
            "Look at the job's state first.",
        )
    return row


def diagram() -> str:
    """The table as a Mermaid state diagram; rows between the same two states share an arrow."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for row in TABLE:
        if row.state is not row.next_state:
            arrows.setdefault((row.state, row.next_state), []).append(str(row.trigger))
    lines = ["stateDiagram-v2", "    [*] --> received"]
    for (start, end), labels in arrows.items():
        lines.append(f"    {start.name.lower()} --> {end.name.lower()}: {' / '.join(labels)}")
    lines += [f"    {state.name.lower()} --> [*]" for state in State if state in ENDED]
    return "\n".join(lines)


def document() -> str:
    """STATES.md: the diagram and the table."""
    rows = [
        f"| {row.state.name.lower()} | {row.trigger} | {row.next_state.name.lower()} | {row.action} |" for row in TABLE
    ]
    return "\n".join(
        [
            "# The states of a job",
            "",
            "Generated by `python -m conductor_node.states` from the table in `states.py`; a test keeps it current.",
            "",
            "```mermaid",
            diagram(),
            "```",
            "",
            "| in state | when | next state | action |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    print(document(), end="")
