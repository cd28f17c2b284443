"""The still picture of a tool path, for paper and for readers without scripts: a PNG drawn here, not by the browser."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

from industriverse_core.colours import ramp_rgb, rgb
from industriverse_core.moves import TRAVEL
from industriverse_core.toolpath import ToolPath

WIDTH, HEIGHT = 1080, 680
OVERSAMPLING = 2
TURN, TILT = math.radians(-32.0), math.radians(32.0)  # where one looks from: right of the front, above
MOST_PIXELS = 200_000_000  # looked at while drawing; a sliced part of 17 MB takes some 50 million
MARGIN = 0.06  # of the picture's size
LIGHT = (-0.45, -0.55, 0.70)  # from the upper left, in front (right, down, towards the viewer)
# features: neighbours in the list differ in lightness as well as in hue
FEATURES = (
    "#8b95a7", "#9aa3b2", "#b98d5b", "#6fa8a0", "#f08c3a", "#f2c14e", "#5b8def", "#d95f8c", "#7bc86c", "#a678de",
    "#3fb8af", "#e05d4f", "#c0ca55", "#4f7cac", "#e79bc3", "#84a98c",
)  # fmt: skip


def draw(path: ToolPath, width_m: float) -> bytes | None:
    """A PNG with a transparent ground, or None where nothing is worked. Coloured by energy, else by feature.

    Parallel projection of the part; `width_m` is how wide a bead or cut is drawn.
    """
    from industriverse_cli.report import kernels

    ends = np.flatnonzero(path.drawn & (path.feature != TRAVEL))
    ends = ends[ends > 0]
    if not len(ends):
        return None
    screen, scale = _fit(project(path.points_m), path.part())
    by_energy = path.energy_scale.high > path.energy_scale.low
    features = rgb(FEATURES)
    colour = ramp_rgb(path.energy[ends]) if by_energy else features[path.feature[ends] % len(features)]
    image = np.zeros((HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING, 4), np.float32)
    depth = np.full(image.shape[:2], -np.inf)
    half_width = min(max(0.5 * width_m * scale, 0.8 * OVERSAMPLING), 12.0 * OVERSAMPLING)
    light = np.array(LIGHT) / np.linalg.norm(LIGHT)
    kernels.draw_tubes(screen[ends - 1], screen[ends], colour, half_width, light, MOST_PIXELS, image, depth)
    return _png(_averaged(image))


def project(points: np.ndarray) -> np.ndarray:
    """Right, down and towards the viewer."""
    x, y, z = points.T
    right = x * math.cos(TURN) - y * math.sin(TURN)
    away = x * math.sin(TURN) + y * math.cos(TURN)
    up = z * math.cos(TILT) + away * math.sin(TILT)
    near = z * math.sin(TILT) - away * math.cos(TILT)
    return np.column_stack([right, -up, near])


def _fit(projected: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, float]:
    """The projected points in pixels, the part inside the margins; and pixels a metre."""
    low, high = projected[shown].min(axis=0), projected[shown].max(axis=0)
    size = np.array([WIDTH, HEIGHT]) * OVERSAMPLING
    scale = float(np.min(size * (1.0 - 2.0 * MARGIN) / np.maximum((high - low)[:2], 1e-4)))
    screen = (projected - 0.5 * (low + high)) * scale
    screen[:, :2] += 0.5 * size
    return screen, scale


def _averaged(image: np.ndarray) -> np.ndarray:
    """Oversampled pixels averaged, colours weighted by alpha; uint8."""
    blocks = image.reshape(HEIGHT, OVERSAMPLING, WIDTH, OVERSAMPLING, 4)
    alpha = blocks[..., 3].sum(axis=(1, 3))
    colour = (blocks[..., :3] * blocks[..., 3:]).sum(axis=(1, 3)) / np.maximum(alpha, 1.0)[..., None]
    return np.dstack([colour, alpha / OVERSAMPLING**2]).round().astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    """RGBA pixels as PNG (RFC 2083), rows filtered by 'Up', which suits even areas."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, -1)
    filtered = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))  # modulo 256
    raw = np.column_stack([np.full(height, 2, np.uint8), filtered]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
