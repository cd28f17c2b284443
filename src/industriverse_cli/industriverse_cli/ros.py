"""Where the commands that talk to a running cell get at ROS: late, and with a refusal where there is none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from industriverse_core.errors import ErrorCode, JobError


def ros_module(name: str) -> Any:
    """A module that needs ROS, by its dotted name. Raises JobError (SERVICE_UNAVAILABLE) where ROS cannot be loaded."""
    try:
        return import_module(name)
    except ImportError as error:
        raise JobError(
            ErrorCode.SERVICE_UNAVAILABLE,
            f"ROS 2 cannot be loaded here ({error}).",
            "Run it inside the environment: ./cell exec -- industriverse ...",
        ) from error
