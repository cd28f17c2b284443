"""The controller families by name; nothing else of this package names one."""

from __future__ import annotations

from industriverse_core.errors import ErrorCode, ProfileError
from industriverse_core.machine import MachineProfile
from machine_node.drivers import Family
from machine_node.grbl.family import GrblFamily
from machine_node.marlin.family import MarlinFamily

FAMILIES: dict[str, Family] = {"marlin": MarlinFamily(), "grbl": GrblFamily()}


def family_of(profile: MachineProfile) -> Family:
    """The family of a profile's controller. Raises ProfileError (BAD_PARAMETER) when this package drives none."""
    family = FAMILIES.get(profile.protocol.family)
    if family is None:
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            f"machine '{profile.id}' speaks {profile.protocol.family}; {', '.join(sorted(FAMILIES))} can be driven.",
            "Set the parameter machine to another profile.",
        )
    return family
