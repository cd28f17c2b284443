"""From a program to what the worker streams. Everything that a program can make fail fails here, not in mid-job."""

from __future__ import annotations

from collections.abc import Callable

from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import plan_motion
from industriverse_core.program import Program
from machine_node.execution import Execution, Result
from machine_node.families import family_of
from machine_node.streaming.streamer import Streamer


def prepare(
    program: Program,
    digest: Digest,
    profile: MachineProfile,
    time_scale: float,
    job_id: str,
    on_end: Callable[[Result], None],
) -> Execution:
    """Plan a program and cut its first piece. Takes long: call it outside of the worker.

    Args:
        program: with this digest; it need not have passed the gates.
        time_scale: physics seconds in a steady second.
        on_end: see Execution.
    Raises CoreError for what the profile's controller is never sent and what cannot be planned.
    """
    family = family_of(profile)
    family.check_sendable(program, profile)
    try:
        plan = plan_motion(program, profile)
        streamer = Streamer(
            program,
            plan,
            profile,
            time_scale,
            family.dialect,
            preamble=family.preamble(program, profile),
            lead_s=family.lead_s(time_scale),
            approach=family.approach(program, profile, time_scale),
        )
    except (ArithmeticError, ValueError) as error:
        raise MachineError(
            ErrorCode.PROTOCOL,
            f"the program cannot be planned for {profile.id} ({type(error).__name__}: {error}).",
            "Check the program: industriverse check FILE.",
        ) from error
    return Execution(program, digest, plan, streamer, job_id, on_end)
