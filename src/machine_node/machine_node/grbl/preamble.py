"""What a GRBL controller is told before each program, so that nothing is left of the job before it."""

from __future__ import annotations

from industriverse_core.program import Program

HOME = "$H"
FIRST_SYSTEM = "G54"
SYSTEMS = (FIRST_SYSTEM, "G55", "G56", "G57", "G58", "G59")


def preamble(program: Program) -> tuple[str, ...]:
    """Millimetres, absolute, feed a minute, XY, the program's work zero without shifts or tool length; all off."""
    return f"G21G90G94G17{work_system(program)}G40G49G80", "G92.1", "M5", "M9"


def work_system(program: Program) -> str:
    """From whose origin the program's coordinates count."""
    return program.metadata.work_system or FIRST_SYSTEM
