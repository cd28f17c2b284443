"""The compiled loops of the report's still picture."""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled

Array = np.ndarray
AMBIENT, DIFFUSE = 0.52, 0.56  # light on a tube's dark side, and what the light adds


@compiled
def _paint(
    x: int, y: int, near: float, lit: float, colour: Array, index: int, image: Array, depth: Array
) -> None:  # fmt: skip
    """One pixel of a tube, where nothing nearer is."""
    if near <= depth[y, x]:
        return
    depth[y, x] = near
    shade = AMBIENT + DIFFUSE * max(0.0, lit)
    for channel in range(3):
        image[y, x, channel] = min(255.0, colour[index, channel] * shade)
    image[y, x, 3] = 255.0


@compiled
def draw_tubes(
    start: Array, end: Array, colour: Array, half_width: float, light: Array, most: int, image: Array, depth: Array
) -> None:
    """Draw straight pieces as lit round tubes that end in balls, into an image with a depth buffer.

    Args:
        start, end: (n, 3) in pixels; the third is the distance towards the viewer.
        colour: (n, 3), 0 to 255.
        half_width: of a tube, in pixels.
        light: direction to the light (right, down, towards the viewer), length 1.
        most: pixels that are looked at, from the last tube on; a hostile path shall not take minutes.
        image: (height, width, 4) float32, alpha 255 where something is; changed.
        depth: (height, width), -inf where nothing is; changed.
    """
    height, width = depth.shape
    span = math.ceil(half_width * 1.5)
    for index in range(len(start) - 1, -1, -1):  # what lies on top is drawn first and hides the rest cheaply
        if _is_corner(start, end, index):
            _draw_ball(end, index, colour, half_width, light, image, depth)
        dx, dy = end[index, 0] - start[index, 0], end[index, 1] - start[index, 1]
        length = math.hypot(dx, dy)
        if length == 0.0:
            continue
        steps = max(1, math.ceil(max(abs(dx), abs(dy))))
        most -= steps * (2 * span + 1)
        if most < 0:
            return
        across_x, across_y = -dy / length, dx / length
        flat = abs(dx) >= abs(dy)
        for step in range(steps + 1):
            share = step / steps
            cx, cy = start[index, 0] + share * dx, start[index, 1] + share * dy
            cz = start[index, 2] + share * (end[index, 2] - start[index, 2])
            for offset in range(-span, span + 1):
                x = math.floor(cx) if flat else math.floor(cx) + offset
                y = math.floor(cy) + offset if flat else math.floor(cy)
                u = ((x + 0.5 - cx) * across_x + (y + 0.5 - cy) * across_y) / half_width
                if x < 0 or y < 0 or x >= width or y >= height or abs(u) > 1.0 or cz + half_width <= depth[y, x]:
                    continue
                facing = math.sqrt(1.0 - u * u)
                lit = u * (across_x * light[0] + across_y * light[1]) + facing * light[2]
                _paint(x, y, cz + facing * half_width, lit, colour, index, image, depth)


@compiled
def _is_corner(start: Array, end: Array, index: int) -> bool:
    """Whether the next piece goes on elsewhere, turns by more than about 18 degrees, or is scanned along the other
    axis: there the tubes leave a notch."""
    if index + 1 == len(start):
        return True
    dx, dy = end[index, 0] - start[index, 0], end[index, 1] - start[index, 1]
    ex, ey = end[index + 1, 0] - start[index + 1, 0], end[index + 1, 1] - start[index + 1, 1]
    if start[index + 1, 0] != end[index, 0] or start[index + 1, 1] != end[index, 1]:
        return True
    if (abs(dx) >= abs(dy)) != (abs(ex) >= abs(ey)):
        return True
    return dx * ex + dy * ey < 0.95 * math.hypot(dx, dy) * math.hypot(ex, ey)


@compiled
def _draw_ball(
    centre: Array, index: int, colour: Array, radius: float, light: Array, image: Array, depth: Array
) -> None:  # fmt: skip
    """The ball at the end of a tube: it fills the corner to the next one, and lies a little behind both."""
    height, width = depth.shape
    reach = math.ceil(radius)
    cx, cy = centre[index, 0], centre[index, 1]
    for y in range(max(0, math.floor(cy) - reach), min(height, math.floor(cy) + reach + 1)):
        for x in range(max(0, math.floor(cx) - reach), min(width, math.floor(cx) + reach + 1)):
            u, v = (x + 0.5 - cx) / radius, (y + 0.5 - cy) / radius
            inside = 1.0 - u * u - v * v
            if inside > 0.0 and centre[index, 2] + 0.5 * radius > depth[y, x]:
                facing = math.sqrt(inside)
                lit = u * light[0] + v * light[1] + facing * light[2]
                _paint(x, y, centre[index, 2] + (facing - 0.5) * radius, lit, colour, index, image, depth)
