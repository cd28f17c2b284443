"""The shield's picture on its way to rviz: once a second, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable

from industriverse_core.machine import MachineProfile
from industriverse_core.threats import Decision
from industriverse_ros.markers import MarkerPublisher
from industriverse_ros.node import CellNode
from shield_node.people import People
from shield_node.scene import Watched, fixed_scene, people_scene, state_marker

PERIOD_S = 1.0


class ShieldMarkers:
    """Shows what the shield guards and what it says.

    Args:
        decide: the shield's present decision.
        people: whom it watches; None where it watches nobody.
    """

    def __init__(
        self, node: CellNode, profile: MachineProfile, decide: Callable[[], Decision], people: People | None
    ) -> None:
        self._profile, self._decide, self._people = profile, decide, people
        self._fixed = fixed_scene(profile, people.zones if people is not None else ())
        self._publisher = MarkerPublisher(node, profile.id)
        node.steady_timer(PERIOD_S, self.tick)

    def tick(self) -> None:
        """Publish what has changed; called once a second."""
        if self._publisher.wanted():
            state = state_marker(self._profile, self._decide())
            self._publisher.show((*self._fixed, *people_scene(self._watched()), state))

    def _watched(self) -> Watched | None:
        people = self._people
        if people is None or people.found is None:
            return None
        return Watched(people.everybody(), people.place, people.found)
