"""What is shown of a program's moves: their kinds, the slicer's features, layers. Sums are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from industriverse_core.program import Op, Program

MAX_LAYERS = 4000
SLICES = 200  # levels that a path without layers is cut into
LEVEL_M = 1e-5  # heights closer than this are one level
MAX_FEATURES = 24
MAX_FEATURE_CHARACTERS = 40
TYPE_COMMENT = b";TYPE:"  # PrusaSlicer, SuperSlicer, OrcaSlicer, Cura
TRAVEL = 0  # index of the feature that moves without working


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What kind of move each of n instructions is.

    Attributes:
        tool: the tool moves between finite points.
        work: it deposits (printers) or feeds (mills) on the way.
        volume_m3: what it deposits; 0 for mills.
        feature: index into `names`; 0 = travel.
    """

    tool: np.ndarray
    work: np.ndarray
    volume_m3: np.ndarray
    feature: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Layers (printers), lowest first, or levels (mills), highest first: in the order of the work.

    Attributes:
        z_m: height of each, shape (k,).
        of: layer of each instruction, shape (n,): its own when it works, else that of the last that did; -1 before.
        ended: instructions after the last that works.
    """

    z_m: np.ndarray
    of: np.ndarray
    ended: np.ndarray


def classify(program: Program, mill: bool, source: bytes = b"") -> Moves:
    """Kinds of moves; the slicer's feature comments are read from the source text where there is one."""
    op, fed = program.columns["op"], program.columns["extrude_m3"]
    positions, starts = program.positions_m(), program.starts_m()
    finite = np.isfinite(positions).all(axis=1) & np.isfinite(starts).all(axis=1)
    tool = program.is_motion() & finite & (np.any(positions != starts, axis=1) | (op == Op.ARC_FEED))
    work = tool & ((op != Op.STRAIGHT_TRAVERSE) if mill else (fed > 0.0))
    names, feature = _features(program, source)
    names = ("rapid", *names) if mill else ("travel", *names)
    if len(names) == 1:
        names = (*names, "cutting" if mill else "printing")
    return Moves(
        tool, work, np.where(work & (fed > 0.0), fed, 0.0), np.where(work, feature, TRAVEL).astype(np.uint8), names
    )


def _features(program: Program, source: bytes) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the features that the source's comments state, and the number (from 1) in force at each instruction."""
    places, texts = [], []
    at = source.find(TYPE_COMMENT)
    while at >= 0:
        if at == 0 or source[at - 1 : at] == b"\n":
            places.append(at)
            texts.append(_clean(source[at + len(TYPE_COMMENT) : at + 160]))
        at = source.find(TYPE_COMMENT, at + 1)
    if not places:
        return (), np.ones(len(program), np.uint8)
    names = ("before the first feature", *dict.fromkeys(texts))
    if len(names) > MAX_FEATURES:
        names = (*names[: MAX_FEATURES - 1], "other")
    number = {name: index for index, name in enumerate(names)}
    stated = np.array([0] + [number.get(text, len(names) - 1) for text in texts])
    ends = np.flatnonzero(np.frombuffer(source, np.uint8) == ord("\n"))
    lines = np.searchsorted(ends, places) + 1
    found = stated[np.searchsorted(lines, program.columns["line"])]
    return names, (found + 1).astype(np.uint8)


def _clean(raw: bytes) -> str:
    """The first line of a comment, shortened, without control characters."""
    text = raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())
    return text[:MAX_FEATURE_CHARACTERS] or "unnamed"


def layers_of(program: Program, moves: Moves, downwards: bool) -> Layers:
    """Heights at which the program works. A path that climbs steadily (vase, ramp) is cut into equal slices."""
    z = program.columns["z_m"]
    where = np.flatnonzero(moves.work)
    of = np.full(len(program), -1, np.int64)
    if not len(where):
        return Layers(np.zeros(0), of, np.ones(len(program), bool))
    steps = np.round(z[where] / LEVEL_M)
    levels, own = np.unique(steps, return_inverse=True)
    height = float(levels[-1] - levels[0]) * LEVEL_M
    layer = program.metadata.layer_height_m
    expected = height / layer if layer > 0.0 else SLICES
    if len(levels) > min(1.5 * expected + 10, MAX_LAYERS):
        count = int(min(max(1, np.ceil(expected)), MAX_LAYERS))
        share = (steps - levels[0]) / (levels[-1] - levels[0])
        own = np.minimum((share * count).astype(np.int64), count - 1)
        levels = levels[0] + (np.arange(count) + 1.0) / count * (levels[-1] - levels[0])
        used, own = np.unique(own, return_inverse=True)
        levels = levels[used]
    if downwards:
        levels, own = levels[::-1], len(levels) - 1 - own
    of[where] = own
    last = np.maximum.accumulate(np.where(of >= 0, np.arange(len(of)), -1))
    of = np.where(last >= 0, of[np.maximum(last, 0)], -1)
    return Layers(levels * LEVEL_M, of, np.arange(len(of)) > where[-1])


def per_layer(layers: Layers, column: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Sums of a column by layer, before the first and after the last; together the whole column's sum."""
    before = layers.of < 0
    inside = ~before & ~layers.ended
    sums = np.bincount(layers.of[inside], weights=column[inside], minlength=len(layers.z_m))
    return sums, float(column[before].sum()), float(column[layers.ended & ~before].sum())
