"""Live topics for engineers over the Foxglove WebSocket: JSON with schemas. Clients can subscribe, and nothing else.

foxglove-sdk is imported here alone; `opening` says what to do where it is missing.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass

import foxglove

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from machine_node.doors.address import Address, check_free
from machine_node.doors.foxglove_topics import TOPICS, Topic, finite
from machine_node.doors.model import CellModel, CellView

NAME = "Foxglove"
AGAIN_S = 1.0  # what does not change is sent again, for who came later
CLOSE_S = 3.0
BACKLOG = 256  # messages that wait for a slow client; older ones are dropped


@dataclass(slots=True)
class _Channel:
    """One topic of one machine, and what was sent last."""

    machine: str
    topic: Topic
    channel: foxglove.Channel
    sent: object = None
    sent_s: float = -math.inf


class FoxgloveDoor:
    """The WebSocket, listening. Raises MachineError or ProfileError where it cannot."""

    name = NAME
    period_s = 0.05
    failure = None

    def __init__(self, model: CellModel, address: Address) -> None:
        check_free(NAME, address)
        foxglove.set_log_level("CRITICAL")  # a client could fill the disk with warnings
        self._context = context = foxglove.Context()  # not what others of this process log; ends when it is let go
        try:
            self._server = foxglove.start_server(
                name=f"industriverse {model.cell}",
                host=address.host,
                port=address.port,
                capabilities=[],  # no clientPublish, no services, no parameters
                supported_encodings=[],
                message_backlog_size=BACKLOG,
                context=context,
            )
        except RuntimeError as error:  # all that the SDK says; the port was free a moment ago
            raise MachineError(
                ErrorCode.PORT_UNAVAILABLE, f"the {NAME} door: {error}.", "Choose another port."
            ) from error
        self._channels = [
            _Channel(profile.id, topic, _channel(f"/{model.cell}/{profile.id}/{topic.name}", topic, context))
            for profile in model.profiles
            for topic in TOPICS
        ]
        self.address = address.bound_to(self._server.port)
        self.url = f"ws://{self.address.reachable_host}:{self.address.port}"

    def update(self, view: CellView, utc_s: float) -> None:
        """Send what is new to whoever has subscribed."""
        machines = {machine.machine_id: machine for machine in view.machines}
        for each in self._channels:
            if not each.channel.has_sinks():
                each.sent_s = -math.inf
                continue
            said = each.topic.of(machines[each.machine])
            if said is None or (said is each.sent and utc_s - each.sent_s < AGAIN_S):
                continue
            each.sent, each.sent_s = said, utc_s
            each.channel.log(finite(each.topic.content(said)), log_time=int(utc_s * 1e9))

    def close(self) -> None:
        """Stop listening."""
        self._server.stop()  # does not wait
        for each in self._channels:
            each.channel.close()
        until_s = time.monotonic() + CLOSE_S
        while time.monotonic() < until_s:
            with suppress(CoreError):
                check_free(NAME, self.address)
                return
            time.sleep(0.01)


def _channel(name: str, topic: Topic, context: foxglove.Context) -> foxglove.Channel:
    return foxglove.Channel(name, schema=topic.schema(), message_encoding="json", context=context)
