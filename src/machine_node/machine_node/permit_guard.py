"""The machine's own judge of permits: one table of states, and what it takes to be allowed to move.

Nothing here performs I/O or reads a clock; `now` is always steady time [s]. The guard is conservative: a permit
that is not authentic, fresh and for the executing program changes nothing, and time alone ends permission.
"""

from __future__ import annotations

import secrets
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.permit import GRACE_S, Permit, StopLevel, check_fields, is_authentic
from industriverse_core.state_table import StateTable

CHALLENGE_PERIOD_S = 0.5
CHALLENGE_LIFE_S = 1.25  # two periods and the delay of a busy machine
WAIT_LIMIT_S = 10.0  # an accepted execution without a permit is refused after this


class GuardState(IntEnum):
    """Motion is allowed in LIVE and nowhere else."""

    IDLE = auto()  # no execution
    WAITING = auto()  # an execution was accepted, no valid permit for it has come yet
    LIVE = auto()  # a valid permit is held
    HOLD = auto()  # it has lapsed less than the grace time ago, or the shield says to wait
    LATCHED = auto()  # stopped until the operator clears it


class Event(IntEnum):
    """What can happen to the guard."""

    ACCEPT = auto()  # an execution begins
    PERMIT = auto()  # an authentic, fresh permit for the executing program
    PAUSE = auto()  # an authentic, fresh permit for no program: stand still, wait
    EXPIRE = auto()  # the held permit's time is over
    GRACE_OVER = auto()  # so is the grace time
    WAIT_OVER = auto()  # no permit came for an accepted execution
    LATCH = auto()  # a stop request, a newer shield, a cycle that cannot be held, a fault of the machine
    END = auto()  # the execution is over
    CLEAR = auto()  # an authentic, fresh permit that clears this latch


def _refusal(state: GuardState, event: Event) -> PermitError:
    if state is GuardState.LATCHED:
        code, remedy = ErrorCode.LATCHED, "Clear the stop first: industriverse clear --reason '...'."
    else:
        code, remedy = ErrorCode.BUSY, "Wait for the execution's end."
    return PermitError(code, f"The guard is {state.name}; {event.name} is not possible.", remedy)


TABLE = StateTable(
    GuardState.IDLE,
    {
        (GuardState.IDLE, Event.ACCEPT): GuardState.WAITING,
        (GuardState.IDLE, Event.LATCH): GuardState.LATCHED,
        (GuardState.WAITING, Event.PERMIT): GuardState.LIVE,
        (GuardState.WAITING, Event.WAIT_OVER): GuardState.IDLE,
        (GuardState.WAITING, Event.LATCH): GuardState.LATCHED,
        (GuardState.WAITING, Event.END): GuardState.IDLE,
        (GuardState.LIVE, Event.PERMIT): GuardState.LIVE,
        (GuardState.LIVE, Event.EXPIRE): GuardState.HOLD,
        (GuardState.LIVE, Event.PAUSE): GuardState.HOLD,
        (GuardState.LIVE, Event.LATCH): GuardState.LATCHED,
        (GuardState.LIVE, Event.END): GuardState.IDLE,
        (GuardState.HOLD, Event.PERMIT): GuardState.LIVE,
        (GuardState.HOLD, Event.PAUSE): GuardState.HOLD,
        (GuardState.HOLD, Event.GRACE_OVER): GuardState.LATCHED,
        (GuardState.HOLD, Event.LATCH): GuardState.LATCHED,
        (GuardState.HOLD, Event.END): GuardState.IDLE,
        (GuardState.LATCHED, Event.LATCH): GuardState.LATCHED,
        (GuardState.LATCHED, Event.CLEAR): GuardState.IDLE,
    },
    _refusal,
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an execution was ended by the guard."""

    code: ErrorCode
    message: str


def random_63() -> int:
    """A random number from 1 to 2^63 - 1."""
    return secrets.randbelow(2**63 - 1) + 1


class PermitGuard:
    """Whether this machine may move. See TABLE; every change of state goes through it.

    Attributes:
        state: see GuardState.
        cause: why the last execution was ended by the guard; None while none was.
        stop_level: hardest stop that was asked for while latched.
        latch_id: random, nonzero while latched.
        speed_scale: of the held permit.
        sequence, received_s: of the last accepted permit; NaN-free: received_s is None before the first.
        refused: number of refused permits by reason.
    """

    def __init__(self, machine_id: str, key: bytes, random: Callable[[], int] = random_63) -> None:
        self._machine_id = machine_id
        self._key = key
        self._random = random
        self.state = GuardState.IDLE
        self.digest: Digest = NO_DIGEST
        self.cause: Cause | None = None
        self.stop_level: StopLevel | None = None
        self.latch_id = 0
        self.speed_scale = 1.0
        self.sequence = 0
        self.received_s: float | None = None
        self.refused: Counter[str] = Counter()
        self._challenges: list[tuple[int, float]] = []  # (number, made at), newest first, at most two
        self._incarnation = 0
        self._sequence_of_incarnation = 0
        self._execution_incarnation: int | None = None
        self._valid_until = 0.0
        self._accepted_s = 0.0

    # --- challenge ---

    def challenge(self, now: float) -> int:
        """The number that permits must echo; renewed every CHALLENGE_PERIOD_S. Publish what this returns."""
        if not self._challenges or now - self._challenges[0][1] >= CHALLENGE_PERIOD_S:
            self._challenges = [(self._random(), now), *self._challenges[:1]]
        return self._challenges[0][0]

    # --- execution ---

    def accept(self, digest: Digest, now: float) -> None:
        """An execution of the program with this digest begins. Raises PermitError when latched or busy."""
        if digest == NO_DIGEST:
            raise PermitError(ErrorCode.PERMIT_FOREIGN, "a program without a digest is never executed.", "Submit it.")
        self.tick(now)
        self._go(Event.ACCEPT)
        self.digest = digest
        self.cause = None
        self._accepted_s = now
        self._execution_incarnation = None

    def end(self, now: float) -> None:
        """The execution is over. Nothing happens when the guard has ended it already."""
        self.tick(now)
        if self.has_execution:
            self._go(Event.END)
            self.digest = NO_DIGEST

    @property
    def has_execution(self) -> bool:
        """True from `accept` to the execution's end, by whomever."""
        return self.state in (GuardState.WAITING, GuardState.LIVE, GuardState.HOLD)

    def motion_allowed(self, now: float) -> bool:
        """True when a piece of the executing program may be written at this moment."""
        return self.state is GuardState.LIVE and now < self._valid_until

    def tick(self, now: float) -> None:
        """Let time pass: expiry, grace, waiting limit."""
        if self.state is GuardState.LIVE and now >= self._valid_until:
            self._go(Event.EXPIRE)
        if self.state is GuardState.HOLD and now >= self._valid_until + GRACE_S:
            self._latch(
                Event.GRACE_OVER,
                Cause(ErrorCode.PERMIT_LAPSED, f"no valid motion permit for more than {GRACE_S:g} s."),
            )
        if self.state is GuardState.WAITING and now >= self._accepted_s + WAIT_LIMIT_S:
            self._go(Event.WAIT_OVER)
            self.digest = NO_DIGEST
            self.cause = Cause(
                ErrorCode.NO_PERMIT,
                f"no motion permit for this program came within {WAIT_LIMIT_S:g} s. Arm it at the shield.",
            )

    # --- stops ---

    def on_stop(self, machine_id: str, level: StopLevel, source: str, reason: str, now: float) -> None:
        """A stop request: latches, with or without an execution; while latched it can only become harder."""
        self.tick(now)
        if machine_id not in ("", self._machine_id):
            return
        if self.state is GuardState.LATCHED:
            self.stop_level = max(self.stop_level or level, level)
        else:
            cause = Cause(ErrorCode.STOP_REQUESTED, f"stop ({level.name}) requested by {source or 'unknown'}: {reason}")
            self._latch(Event.LATCH, cause, level)

    def latch(self, cause: Cause, now: float) -> None:
        """The machine itself must not go on (homing was interrupted, the controller failed). A latch stays as it is."""
        self.tick(now)
        if self.state is not GuardState.LATCHED:
            self._latch(Event.LATCH, cause)

    # --- permits ---

    def on_permit(self, permit: Permit, now: float) -> None:
        """A permit as received. Whatever is wrong with it is counted in `refused` and changes nothing else."""
        self.tick(now)
        try:
            self._verify(permit, now)
        except PermitError as error:
            self.refused[error.code.name] += 1
            return
        self._incarnation = permit.incarnation
        self._sequence_of_incarnation = self.sequence = permit.sequence
        self.received_s = now
        if self.state is GuardState.LATCHED:
            if permit.cleared_latch == self.latch_id:
                self._go(Event.CLEAR)
                self.latch_id, self.stop_level = 0, None
            return
        if not self.has_execution:
            return
        if self._execution_incarnation is None:
            self._execution_incarnation = permit.incarnation
        elif permit.incarnation != self._execution_incarnation:
            self._latch(
                Event.LATCH, Cause(ErrorCode.SHIELD_RESTARTED, "the shield was restarted during the execution.")
            )
            return
        if permit.program_digest == NO_DIGEST and self.state in (GuardState.LIVE, GuardState.HOLD):
            self._go(Event.PAUSE)
            self._valid_until = now  # nothing moves; the grace time begins anew
            return
        if permit.program_digest != self.digest:
            self.refused[ErrorCode.PERMIT_FOREIGN.name] += 1
            return
        self._go(Event.PERMIT)
        self._valid_until = now + permit.valid_for_ms * 1e-3
        self.speed_scale = permit.speed_scale

    def _verify(self, permit: Permit, now: float) -> None:
        """Raise PermitError unless the permit is for this machine, authentic, in range, new and fresh."""
        if permit.machine_id != self._machine_id:
            raise PermitError(ErrorCode.PERMIT_FOREIGN, "permit for another machine.")
        try:
            authentic = is_authentic(permit, self._key)
        except (struct.error, OverflowError, UnicodeEncodeError):
            authentic = False  # a field that no message can carry
        if not authentic:
            raise PermitError(ErrorCode.PERMIT_FORGED, "permit with a wrong MAC.")
        check_fields(permit)
        if permit.incarnation < self._incarnation or (
            permit.incarnation == self._incarnation and permit.sequence <= self._sequence_of_incarnation
        ):
            raise PermitError(ErrorCode.PERMIT_REPLAYED, "permit that is not newer than the last one.")
        fresh = (number for number, made_s in self._challenges if now - made_s <= CHALLENGE_LIFE_S)
        if permit.challenge not in fresh:
            raise PermitError(ErrorCode.PERMIT_REPLAYED, "permit with an old challenge.")

    # --- table ---

    def _go(self, event: Event) -> None:
        self.state = TABLE.next_state(self.state, event)

    def _latch(self, event: Event, cause: Cause, level: StopLevel = StopLevel.HOLD) -> None:
        self._go(event)
        self.cause = cause
        self.stop_level = level
        self.latch_id = self._random()
        self.digest = NO_DIGEST


if __name__ == "__main__":
    print(TABLE.diagram(), end="")
