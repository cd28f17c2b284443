"""The tool path as the page's script reads it: 16 bytes a vertex, in base64."""

from __future__ import annotations

import base64

import numpy as np

from industriverse_core.toolpath import ToolPath

BUDGET = 150_000  # vertices in the page
HIDDEN = 255  # feature of a vertex that the pen is lifted to
INT16 = 32767
RECORD = np.dtype([
    ("x", "<i2"), ("y", "<i2"), ("z", "<i2"), ("layer", "<u2"),
    ("energy", "u1"), ("speed", "u1"), ("feature", "u1"), ("spare", "u1"), ("line", "<i4"),
])  # fmt: skip


def pack(path: ToolPath) -> dict[str, object]:
    """The path as JSON: RECORDs in base64, coordinates = `origin_m` + `step_m` * integer."""
    low, high = path.box_m(part=False)
    origin = 0.5 * (low + high)
    step = max(float((high - low).max()) / (2 * INT16), 1e-9)
    records = np.zeros(len(path.points_m), RECORD)
    grid = np.round((path.points_m - origin) / step)
    for axis, name in enumerate("xyz"):
        records[name] = np.clip(grid[:, axis], -INT16, INT16)
    records["layer"] = path.layer
    records["energy"], records["speed"], records["line"] = path.energy, path.speed, path.line
    records["feature"] = np.where(path.drawn, path.feature, HIDDEN)
    return {
        "count": len(records),
        "origin_m": origin.tolist(),
        "step_m": step,
        "records": base64.b64encode(records.tobytes()).decode(),
    }
