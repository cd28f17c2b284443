"""A state machine is one table: (state, event) -> next state. What the table does not have, does not happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Generic, TypeVar

from industriverse_core.errors import CoreError

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


class StateTable(Generic[State, Event]):
    """The transitions of one machine.

    Args:
        initial: where it begins; only the diagram needs it.
        rows: every transition that is possible.
        refusal: makes the error for a pair that the table does not have.
    """

    def __init__(
        self,
        initial: State,
        rows: Mapping[tuple[State, Event], State],
        refusal: Callable[[State, Event], CoreError],
    ) -> None:
        self.initial = initial
        self.rows = MappingProxyType(dict(rows))
        self._refusal = refusal

    def next_state(self, state: State, event: Event) -> State:
        """The table's answer. Raises the refusal for a pair that it does not have; nothing changes then."""
        try:
            return self.rows[state, event]
        except KeyError:
            raise self._refusal(state, event) from None

    def diagram(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.name}"]
        lines += [f"    {old.name} --> {new.name}: {event.name}" for (old, event), new in self.rows.items()]
        return "\n".join(lines) + "\n"
