"""The shield's picture on its way to rviz: once a second, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from industriverse_core.machine import MachineProfile
from industriverse_ros.markers import MarkerPublisher
from industriverse_ros.node import CellNode
from shield_node.scene import Watched, fixed_scene, people_scene, state_marker
from shield_node.separation import Zone
from shield_node.shield import Snapshot

PERIOD_S = 1.0


class ShieldMarkers:
    """Shows what the shield guards and what it says.

    Args:
        snapshot: the shield's present state.
        zones: of the cell.
        watched: what is known of people; None where nobody is watched.
    """

    def __init__(
        self,
        node: CellNode,
        profile: MachineProfile,
        snapshot: Callable[[], Snapshot],
        zones: Sequence[Zone] = (),
        watched: Callable[[], Watched | None] = lambda: None,
    ) -> None:
        self._profile, self._snapshot, self._watched = profile, snapshot, watched
        self._fixed = fixed_scene(profile, zones)
        self._publisher = MarkerPublisher(node, profile.id)
        node.steady_timer(PERIOD_S, self.tick)

    def tick(self) -> None:
        """Publish what has changed; called once a second."""
        if self._publisher.wanted():
            snapshot = self._snapshot()
            state = state_marker(self._profile, snapshot.state, snapshot.cause)
            self._publisher.show((*self._fixed, *people_scene(self._watched()), state))
