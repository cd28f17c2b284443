"""The twin's picture on its way to rviz: made in a thread of its own, published once a second to whoever listens."""

from __future__ import annotations

import threading
from collections.abc import Callable

from industriverse_core.errors import CoreError
from industriverse_core.frames import Pose
from industriverse_core.machine import MachineProfile
from industriverse_ros.markers import FramePublisher, MarkerPublisher
from industriverse_ros.node import CellNode, release_realtime
from twin_node.body.model import urdf
from twin_node.scene import JobPicture, JobView, picture_of
from twin_node.twin import Expectation, Moment

PERIOD_S = 1.0
JOIN_S = 5.0


def frames_of(node: CellNode, profile: MachineProfile, base: Pose) -> FramePublisher:
    """The machine's frames, and its body where it can be modelled."""
    frames = FramePublisher(node, profile.id, base)
    try:
        frames.describe(urdf(profile))
    except CoreError as error:
        node.get_logger().info(f"no body is shown: {error}")
    return frames


class JobMarkers:
    """Shows the job that the twin follows. Nothing is computed while nobody listens.

    Args:
        moment: where the job should be now; asked in the executor's thread.
    """

    def __init__(self, node: CellNode, profile: MachineProfile, moment: Callable[[], Moment | None]) -> None:
        self._node, self._profile, self._moment = node, profile, moment
        self._publisher = MarkerPublisher(node, profile.id)
        self._view = JobView(profile)
        self._expectation: Expectation | None = None  # to be shown
        self._drawn: Expectation | None = None  # is shown, or is being drawn
        self._painter: threading.Thread | None = None
        node.steady_timer(PERIOD_S, self.tick)

    def expect(self, expectation: Expectation) -> None:
        """Another job has begun."""
        self._expectation = expectation

    def close(self) -> None:
        """Let a picture that is being drawn come to its end."""
        if self._painter is not None:
            self._painter.join(JOIN_S)

    def tick(self) -> None:
        """Publish what has changed; called once a second."""
        if not self._publisher.wanted():
            return
        idle = self._painter is None or not self._painter.is_alive()
        if self._expectation is not None and self._expectation is not self._drawn and idle:
            self._drawn = self._expectation
            self._painter = threading.Thread(target=self._paint, args=(self._drawn,), name="markers", daemon=True)
            self._painter.start()
        self._publisher.show(self._view.scene(self._moment(), self._node.now_s()))

    def _paint(self, expectation: Expectation) -> None:
        release_realtime()
        try:
            picture: JobPicture = picture_of(expectation, self._profile)
        except Exception as error:  # noqa: BLE001 - a bug in a worker thread must end the process too
            self._node.failure = error
        else:
            self._node.post(self._view.begin, picture)
