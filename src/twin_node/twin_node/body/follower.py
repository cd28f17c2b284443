"""The body beside a running machine: stepped from one telemetry sample to the next, never by more than a bound."""

from __future__ import annotations

from industriverse_core.machine import MachineProfile
from twin_node.body.body import Body, Stretch
from twin_node.timeline import Timeline

RUN_IN_STEPS = 100  # before the present, where the body is set down: belts take up their pull in this time
MOST_STEPS = 1500  # of one sample, some 10 ms of computing; what is further behind is set down near the present
AHEAD_STEPS = 250  # that the body may be ahead of a clock that was corrected, and waits for it


class Follower:
    """Keeps a body at the machine's motion clock. Raises PredictionError (NO_BODY) as Body does."""

    def __init__(self, profile: MachineProfile) -> None:
        self.restarts = 0  # how often the body was behind or ahead and had to be set down on the path
        self._body = Body(profile)
        self._timeline: Timeline | None = None

    def observe(self, motion: tuple[Timeline, float] | None) -> Stretch | None:
        """Bring the body to the motion clock; None = the machine follows no program that is known.

        The clock of a wait or hold stands still, and so does the body: it keeps its last state, without effort.
        """
        if motion is None:
            self._timeline = None
            return None
        timeline, clock_s = motion
        begins = timeline is not self._timeline
        if begins:
            self._timeline = timeline
            self._body.follow(timeline.program, timeline.plan, self._before(clock_s))
        steps = self._body.steps_to(clock_s)
        if steps > MOST_STEPS or steps < -AHEAD_STEPS:
            self.restarts += 1
            self._body.place(self._before(clock_s))
            steps = self._body.steps_to(clock_s)
        return self._body.advance(steps)

    def _before(self, clock_s: float) -> float:
        return max(0.0, clock_s - RUN_IN_STEPS * self._body.step_s)
