"""What a stretch of one stream amounts to: how many rows, how often, how many are missing. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

GAP_PERIODS = 5.0  # a silence of so many usual periods ...
LEAST_GAP_S = 0.5  # ... and at least this long is a gap


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """Times in ROS seconds, gaps in steady seconds. `delay_s`: median from the source's stamp to receipt.

    `lost_rows` are missing numbers. `last`: the last row's values by column.
    """

    rows: int
    lost_rows: int
    rate_hz: float
    gaps: int
    longest_gap_s: float
    from_s: float
    to_s: float
    delay_s: float
    last: Mapping[str, Any]


def summarise(rows: np.ndarray) -> StreamSummary:
    """Of rows in order."""
    if not len(rows):
        return StreamSummary(0, 0, math.nan, 0, math.nan, math.nan, math.nan, math.nan, {})
    # a clock that runs backwards is another boot of the machine, or a new start of the numbers
    period_s = np.diff(rows["steady_s"])
    period_s = period_s[period_s >= 0.0]
    steps = np.diff(rows["row"].astype(np.int64))
    longest = float(period_s.max()) if len(period_s) else math.nan
    limit_s = max(LEAST_GAP_S, GAP_PERIODS * float(np.median(period_s))) if len(period_s) else math.inf
    length_s = float(period_s.sum())
    return StreamSummary(
        rows=len(rows),
        lost_rows=int((steps[steps > 1] - 1).sum()),
        rate_hz=len(period_s) / length_s if length_s > 0.0 else math.nan,
        gaps=int((period_s > limit_s).sum()),
        longest_gap_s=longest,
        from_s=float(rows["received_s"][0]),
        to_s=float(rows["received_s"][-1]),
        delay_s=float(np.median(rows["received_s"] - rows["stamp_s"])),
        last=dict(zip(rows.dtype.names or (), rows[-1].tolist(), strict=True)),
    )
