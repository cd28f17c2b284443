"""Scenes as visualization_msgs/MarkerArray, written as the bytes that go over the wire.

A tool path has tens of thousands of points. As message objects each point and each colour is one Python object; as
bytes they are two arrays. `scene_to_cdr` therefore writes the CDR encoding of the message itself (OMG DDSI-RTPS 2.5,
10.2, plain CDR little-endian), which publishers and `deserialize_message` take like any serialised message.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3

from industriverse_core.frames import Transform
from industriverse_core.scene import Colour, Lines, Marker, Removed, Solids, Text
from industriverse_ros.convert import time_to_msg

ADD, DELETE = 0, 2  # Marker.action
LINE_LIST, TEXT_VIEW_FACING = 5, 9  # Marker.type
LITTLE_ENDIAN = b"\x00\x01\x00\x00"
NO_COLOUR: Colour = (0.0, 0.0, 0.0, 0.0)
ORIGIN = (0.0, 0.0, 0.0)


def scene_to_cdr(scene: Sequence[Marker]) -> bytes:
    """A MarkerArray, serialised. Stamps are zero and frames locked: viewers use the newest transform they have."""
    writer = _Writer()
    writer.plain("I", len(scene))
    for marker in scene:
        match marker:
            case Lines():
                arrays, scale = (marker.points_m, marker.colours), (marker.width_m, 0.0, 0.0)
                writer.marker(marker, marker.frame, LINE_LIST, arrays, scale=scale)
            case Solids():
                arrays = (marker.centres_m, marker.colours)
                writer.marker(marker, marker.frame, int(marker.shape), arrays, scale=marker.size_m)
            case Text():
                writer.marker(
                    marker, marker.frame, TEXT_VIEW_FACING, place=marker.position_m, scale=(0.0, 0.0, marker.height_m),
                    colour=marker.colour, text=marker.text,
                )  # fmt: skip
            case Removed():
                writer.marker(marker, "", 0, action=DELETE)
    return writer.done()


def transform_to_msg(transform: Transform, stamp_s: float) -> TransformStamped:
    """Transform; `stamp_s` is ROS time, ignored by listeners for what is published as static."""
    message = TransformStamped(child_frame_id=transform.child)
    message.header.frame_id = transform.parent
    message.header.stamp = time_to_msg(stamp_s)
    x, y, z = transform.pose.position_m
    message.transform.translation = Vector3(x=x, y=y, z=z)
    x, y, z, w = transform.pose.quaternion
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return message


class _Writer:
    """CDR: each number lies at a multiple of its size, counted from the end of the four bytes that say how it is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def done(self) -> bytes:
        return b"".join([LITTLE_ENDIAN, *self._parts])

    def marker(
        self,
        marker: Marker,
        frame: str,
        kind: int,
        arrays: tuple[np.ndarray, np.ndarray] | None = None,
        place: Sequence[float] = ORIGIN,
        scale: Sequence[float] = ORIGIN,
        colour: Sequence[float] = NO_COLOUR,
        text: str = "",
        action: int = ADD,
    ) -> None:
        """One visualization_msgs/Marker, field by field."""
        points, colours = arrays if arrays is not None else (np.zeros((0, 3)), np.zeros((0, 4)))
        if arrays is not None and len(colours) == 1:  # one for all
            colour, colours = colours[0].tolist(), colours[:0]
        self.header(frame)
        self.text(marker.namespace)
        self.plain("iii", marker.number, kind, action)
        self.plain("10d", *place, 0.0, 0.0, 0.0, 1.0, *scale)
        self.plain("4f", *colour)
        self.plain("iI", 0, 0)  # lifetime: for ever
        self.plain("?", True)  # frame_locked
        self.array(points, "<f8")
        self.array(colours, "<f4")
        self.text("")  # texture_resource
        self.header("")  # texture
        self.text("")
        self.plain("II", 0, 0)  # its data; uv_coordinates
        self.text(text)
        self.text("")  # mesh_resource
        self.text("")  # mesh_file
        self.plain("I", 0)
        self.plain("?", False)  # mesh_use_embedded_materials

    def header(self, frame: str) -> None:
        self.plain("iI", 0, 0)
        self.text(frame)

    def plain(self, kinds: str, *values: float) -> None:
        """Numbers of one size."""
        self._align(struct.calcsize(f"<{kinds[-1]}"))
        self._add(struct.pack(f"<{kinds}", *values))

    def text(self, text: str) -> None:
        raw = text.encode() + b"\0"
        self.plain("I", len(raw))
        self._add(raw)

    def array(self, rows: np.ndarray, dtype: str) -> None:
        """A sequence of messages that are nothing but numbers, one a row."""
        self.plain("I", len(rows))
        if len(rows):
            self._align(np.dtype(dtype).itemsize)
            self._add(np.ascontiguousarray(rows, dtype).tobytes())

    def _align(self, size: int) -> None:
        self._add(b"\0" * (-self._length % size))

    def _add(self, raw: bytes) -> None:
        self._parts.append(raw)
        self._length += len(raw)
