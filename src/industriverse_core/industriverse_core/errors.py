"""The one tree of errors, and the numeric codes that messages carry.

    CoreError                      bad input or a refusal: has a code, a sentence, and what to do
    ├── InputError      100-199    a file, sentence or document that cannot be read
    ├── ProfileError    200-299    a machine profile, material or cell description that is wrong
    ├── GateError       300-399    a program that the gates refuse
    ├── PermitError     400-499    a permit that is not accepted, a stop, a latch
    ├── MachineError    500-599    the machine, its controller or its serial line
    ├── PredictionError 600-699    the oracle or the price cannot be computed
    └── JobError        700-799    a job that cannot go on

A CoreError becomes a refusal with its code. Any other exception is a bug: it ends the process, the permit
lapses, the machine stops. Codes are listed in docs/interfaces.md; a test keeps the list complete.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Codes of `error_code` fields. Blocks of 100; a released code never changes its meaning."""

    OK = 0
    # 100 input
    FILE_NOT_FOUND = 100
    FILE_IS_DIRECTORY = 101
    FILE_EMPTY = 102
    FILE_UNREADABLE = 103
    FILE_TOO_LARGE = 104
    NOT_A_PROGRAM = 105
    BYTECODE_BROKEN = 106
    DIGEST_MISMATCH = 107
    INTENT_NOT_UNDERSTOOD = 108
    USAGE = 109
    UNREADABLE_MESSAGE = 110
    TOOL_MISSING = 111
    VOXELS_BROKEN = 112
    TOO_SLOW = 113
    WORKER_DIED = 114
    JOURNAL_BROKEN = 115
    BAG_BROKEN = 130
    RECORD_BROKEN = 118
    # 200 profiles
    UNKNOWN_MACHINE = 200
    BAD_PROFILE = 201
    UNKNOWN_MATERIAL = 202
    BAD_MATERIAL = 203
    BAD_CELL = 204
    BAD_PARAMETER = 205
    # 300 gates
    GATE_REFUSED = 300
    NOT_CHECKED = 301
    # 400 permits
    NO_PERMIT = 400
    PERMIT_LAPSED = 401
    PERMIT_FORGED = 402
    PERMIT_REPLAYED = 403
    PERMIT_FOREIGN = 404
    SHIELD_RESTARTED = 405
    SOURCE_STALE = 406
    SOURCE_RESTARTED = 407
    STOP_REQUESTED = 408
    LATCHED = 409
    NOTHING_TO_CLEAR = 410
    CLEAR_MISMATCH = 411
    REASON_MISSING = 412
    MACHINE_LATCHED = 413
    MACHINE_FAULT = 414
    ALREADY_ARMED = 415
    THREAT = 416
    PERSON_NEAR = 417
    # 500 machine
    PORT_UNAVAILABLE = 500
    NO_REPLY = 501
    PROTOCOL = 502
    CONTROLLER_ERROR = 503
    CONTROLLER_RESET = 504
    BUSY = 505
    ALREADY_STARTED = 506
    CANCELLED = 507
    PROCESS_RESTARTED = 508
    CONTROLLER_LOCKED = 520
    POSITION_MISMATCH = 521
    # 600 prediction
    CANNOT_PREDICT = 600
    CANNOT_PRICE = 601
    NO_LEDGER = 602
    NO_FORECAST = 604
    NO_BODY = 603
    TOO_MANY_VOXELS = 620
    # 700 jobs
    UNKNOWN_JOB = 700
    ILLEGAL_TRANSITION = 701
    SERVICE_UNAVAILABLE = 702
    CONDUCTOR_RESTARTED = 703
    STORE_UNAVAILABLE = 704
    CELL_NOT_RUNNING = 705


class CoreError(Exception):
    """Bad input or a refusal.

    Attributes:
        code: what kind of refusal (never OK).
        message: one sentence: the place, what was seen, what is allowed.
        remedy: what to do about it; may be empty.
    """

    def __init__(self, code: ErrorCode, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InputError(CoreError):
    """A file, sentence or document that cannot be read (100-199)."""


class ProfileError(CoreError):
    """A machine profile, material or cell description that is wrong (200-299)."""


class GateError(CoreError):
    """A program that has not passed the gates (300-399)."""


class PermitError(CoreError):
    """A permit that is not accepted, a stop, a latch (400-499)."""


class MachineError(CoreError):
    """The machine, its controller or its serial line (500-599)."""


class PredictionError(CoreError):
    """The oracle or the price cannot be computed (600-699)."""


class JobError(CoreError):
    """A job that cannot go on (700-799)."""


_BLOCKS: dict[int, type[CoreError]] = {
    1: InputError,
    2: ProfileError,
    3: GateError,
    4: PermitError,
    5: MachineError,
    6: PredictionError,
    7: JobError,
}


def error_from_code(code: int, message: str) -> CoreError:
    """The error that an answer carries as `error_code` and `error_msg`, as an exception of its block."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return JobError(ErrorCode.UNREADABLE_MESSAGE, f"error code {code}: {message}", "Update industriverse.")
    return _BLOCKS.get(known // 100, JobError)(known, message)
