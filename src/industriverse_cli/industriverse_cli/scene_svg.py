"""A scene as an SVG picture, seen from where the report's still picture is: what rviz would show, without rviz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from industriverse_cli.report.picture import project
from industriverse_core.frames import Pose
from industriverse_core.scene import Lines, Marker, Removed, Shape, Solids, Text

WIDTH, HEIGHT, MARGIN = 1400, 1000, 0.04
GROUND = "#242833"
SLICES = 300  # of depth: what is nearer is drawn later
COLOUR_STEPS = 48
THINNEST = 0.6  # [px] of a line
FONT, CHARACTER, LINE = (
    1.4,
    0.85,
    1.7,
)  # a font's size, a character, a line, over a capital letter's height
LEFT_FACE, FRONT_FACE, TOP_FACE = 0.62, 0.78, 1.0  # light on the sides of a box along x, y, z
FACES = (
    (0, (0, 2, 6, 4)),
    (0, (1, 3, 7, 5)),
    (1, (0, 1, 5, 4)),
    (1, (2, 3, 7, 6)),
    (2, (0, 1, 3, 2)),
    (2, (4, 5, 7, 6)),
)
Shapes = dict[tuple[int, str], list[str]]  # SVG path data by slice of depth and style


def svg_of(scene: Sequence[Marker], poses: Mapping[str, Pose]) -> str:
    """The picture as text.

    Args:
        scene: what is shown.
        poses: where each frame of the scene lies. Raises KeyError for one that is missing.
    """
    view = _View(scene, poses)
    shapes: Shapes = defaultdict(list)
    texts: list[str] = []
    for marker in scene:
        match marker:
            case Lines():
                _lines(view, marker, shapes)
            case Solids(shape=Shape.BOX):
                _boxes(view, marker, shapes)
            case Solids():
                _balls(view, marker, shapes)
            case Text():
                texts.append(_text(view, marker))
            case Removed():
                pass
    drawn = [f'<path {style} d="{"".join(parts)}"/>' for (_, style), parts in sorted(shapes.items())]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{GROUND}"/>'
    return "\n".join([head, ground, *drawn, *texts, "</svg>"]) + "\n"


class _View:
    """From a frame's metres to pixels and slices of depth."""

    def __init__(self, scene: Sequence[Marker], poses: Mapping[str, Pose]) -> None:
        self._poses = poses
        seen = [project(self._moved(each.frame, points)) for each in scene for points in _extent(each)]
        for each in scene:
            if isinstance(each, Text):  # as wide on the screen, wherever one looks from
                seen.append(project(self._moved(each.frame, np.array([each.position_m]))) + _text_corners(each))
        everything = np.vstack(seen) if seen else np.zeros((1, 3))
        low, high = everything.min(axis=0), everything.max(axis=0)
        size, span = np.array([WIDTH, HEIGHT]), np.maximum((high - low)[:2], 1e-6)
        self.scale = float(np.min(size * (1.0 - 2.0 * MARGIN) / span))
        self._middle = 0.5 * (low + high)[:2]
        self._near = low[2], max(high[2] - low[2], 1e-9)

    def _moved(self, frame: str, points: np.ndarray) -> np.ndarray:
        pose = self._poses[frame]
        sine, cosine = np.sin(pose.yaw), np.cos(pose.yaw)
        turned = np.column_stack([
            cosine * points[:, 0] - sine * points[:, 1], sine * points[:, 0] + cosine * points[:, 1], points[:, 2],
        ])  # fmt: skip
        return turned + np.array(pose.position_m)

    def pixels(self, frame: str, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) as pixels (n, 2), and how near each is [m]."""
        projected = project(self._moved(frame, points))
        return (projected[:, :2] - self._middle) * self.scale + 0.5 * np.array([WIDTH, HEIGHT]), projected[:, 2]

    def slice_of(self, near: np.ndarray) -> np.ndarray:
        """Depths as numbers of slices."""
        share = (near - self._near[0]) / self._near[1]
        return np.clip((share * SLICES).astype(np.int64), 0, SLICES)


def _extent(marker: Marker) -> list[np.ndarray]:
    """The points that have to be within the picture."""
    match marker:
        case Lines():
            return [marker.points_m] if len(marker.points_m) else []
        case Solids():
            half = 0.5 * np.array(marker.size_m)
            return [marker.centres_m - half, marker.centres_m + half] if len(marker.centres_m) else []
    return []


def _text_corners(marker: Text) -> np.ndarray:
    """From a text's middle to two corners round it, (2, 3) [m], right and down."""
    lines = marker.text.split("\n")
    half = 0.5 * marker.height_m * np.array([CHARACTER * max(map(len, lines)), LINE * len(lines), 0.0])
    return np.array([-half, half])


def _lines(view: _View, marker: Lines, shapes: Shapes) -> None:
    pixels, near = view.pixels(marker.frame, marker.points_m)
    slices = view.slice_of(0.5 * (near[::2] + near[1::2]))
    colours = _css(marker.colours[::2], len(slices))
    width = max(THINNEST, marker.width_m * view.scale)
    for number, (at, (colour, alpha)) in enumerate(zip(slices.tolist(), colours, strict=True)):
        (x0, y0), (x1, y1) = pixels[2 * number], pixels[2 * number + 1]
        style = f'stroke="{colour}" stroke-opacity="{alpha:.2f}" stroke-width="{width:.2f}" stroke-linecap="round"'
        shapes[at, f'fill="none" {style}'].append(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}")


def _boxes(view: _View, marker: Solids, shapes: Shapes) -> None:
    """The three faces of each box that can be seen; they turn the same way round for the viewer."""
    half = 0.5 * np.array(marker.size_m)
    signs = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)])
    count = len(marker.centres_m)
    corners = (marker.centres_m[:, None] + signs * half).reshape(-1, 3)
    pixels, near = view.pixels(marker.frame, corners)
    pixels, near = pixels.reshape(count, 8, 2), near.reshape(count, 8)
    nearest = int(near[0].argmax()) if count else 0  # the corner next to the viewer is the same one of each box
    slices = view.slice_of(near.mean(axis=1)).tolist()
    for axis, face in FACES:
        if nearest not in face:
            continue
        light = (LEFT_FACE, FRONT_FACE, TOP_FACE)[axis]
        shaded = marker.colours * np.array([light, light, light, 1.0])
        for number, (colour, alpha) in enumerate(_css(shaded, count)):
            data = "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels[number, list(face)])
            shapes[slices[number], f'fill="{colour}" fill-opacity="{alpha:.2f}"'].append(f"M{data}Z")


def _balls(view: _View, marker: Solids, shapes: Shapes) -> None:
    """Balls, and ellipsoids as the box round them is wide and high."""
    half = 0.5 * np.array(marker.size_m)
    pixels, near = view.pixels(marker.frame, marker.centres_m)
    up = project(np.array([[0.0, 0.0, half[2]]]))[0, 1], project(np.array([[0.0, half[1], 0.0]]))[0, 1]
    across, high = half[0] * view.scale, float(np.hypot(*up)) * view.scale
    for (x, y), at, (colour, alpha) in zip(
        pixels, view.slice_of(near + half.max()).tolist(), _css(marker.colours, len(pixels)), strict=True
    ):
        arc = f"a{across:.1f} {high:.1f} 0 1 0"
        data = f"M{x - across:.1f} {y:.1f}{arc} {2 * across:.1f} 0{arc} {-2 * across:.1f} 0Z"
        shapes[at, f'fill="{colour}" fill-opacity="{alpha:.2f}"'].append(data)


def _text(view: _View, marker: Text) -> str:
    pixels, _ = view.pixels(marker.frame, np.array([marker.position_m]))
    x, y = pixels[0]
    ((colour, alpha),) = _css(np.array([marker.colour]), 1)
    size, line_px = FONT * marker.height_m * view.scale, LINE * marker.height_m * view.scale
    lines = marker.text.split("\n")
    top = y - 0.5 * (len(lines) - 1) * line_px + 0.35 * size  # y is the text's middle, tspans stand on their base line
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{top + number * line_px:.1f}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    style = f'font-size="{size:.1f}" fill="{colour}" fill-opacity="{alpha:.2f}"'
    return f'<text font-family="sans-serif" text-anchor="middle" {style}>{spans}</text>'


def _css(colours: np.ndarray, count: int) -> list[tuple[str, float]]:
    """Colours (n, 4) or (1, 4), n = count, in COLOUR_STEPS steps, as '#rrggbb' and opacity."""
    steps = np.round(np.clip(colours[:, :3], 0.0, 1.0) * COLOUR_STEPS) / COLOUR_STEPS * 255.0
    texts = [f"#{int(red):02x}{int(green):02x}{int(blue):02x}" for red, green, blue in steps]
    named = list(zip(texts, colours[:, 3].tolist(), strict=True))
    return named * count if len(named) == 1 else named
