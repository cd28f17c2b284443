"""Which ROS domain a cell lives in: the one that the user has set, else one that no other cell here uses."""

from __future__ import annotations

import os
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path


def cell_domain(cell_dir: Path) -> AbstractContextManager[int]:
    """A context that holds a domain id for as long as the cell runs.

    $ROS_DOMAIN_ID wins. Otherwise ROS's domain coordinator reserves one of 1-100 that no other process on this
    machine has reserved; where it is not installed, the id follows from the cell's folder.
    """
    chosen = os.environ.get("ROS_DOMAIN_ID")
    if chosen is not None and chosen.isdigit():
        return nullcontext(int(chosen))
    try:
        import domain_coordinator
    except ImportError:
        return nullcontext(1 + zlib.crc32(str(cell_dir.resolve()).encode()) % 100)
    context: AbstractContextManager[int] = domain_coordinator.domain_id()
    return context
