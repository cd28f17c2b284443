"""The campaign's own judge of what reached the serial port. It shares no code with the guard that it watches.

It knows what the shield really signed, what really arrived and when, and which challenges the machine really made.
From these alone it says whether a motion line might be handed to the port, and how long motion went on after it might
not. Times are true times [s].
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.permit import Permit

VALID_S = 0.15
CHALLENGE_LIFE_S = 1.25
REST_WITHIN_S = 0.25
MOTION = re.compile(rb"(?:N\d+\s*)?(?:G0*(?:[0-3]|28|29|80)(?![\d.])|\$H)")
HOMING = re.compile(rb"(?:N\d+\s*)?(?:G28|\$H)")
RESUME = b"~"
REAL_TIME = bytes((*b"?!~\x18", *range(0x80, 0x100)))  # bytes that GRBL obeys wherever they stand in a line


@dataclass(slots=True)
class Witness:
    """What was allowed and what happened.

    Attributes:
        grbl: the controller obeys single bytes too.
        braking_s: that the machine needs from its top speed; added to what rest may take.
        violations: sentences; none in a sound run.
        rests_s: from each end of permission in motion to standstill.
        homing_s: the same where the machine's process was frozen or dead and the controller was homing: nobody was
            there to break it off (docs/safety.md, known limits). Counted, not accused.
        oldest_s: highest age of a permit when it was obeyed.
    """

    grbl: bool
    braking_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    rests_s: list[float] = field(default_factory=list)
    homing_s: list[float] = field(default_factory=list)
    motion_lines: int = 0
    oldest_s: float = 0.0
    _signed: dict[tuple[int, int], tuple[Permit, float]] = field(default_factory=dict)
    _challenges: dict[int, float] = field(default_factory=dict)
    _newest: tuple[int, int] = (0, 0)
    _digest: Digest = NO_DIGEST
    _incarnation: int = 0
    _until_s: float = -math.inf
    _stopped: bool = False
    _windows: list[list[float]] = field(default_factory=list)  # begin, end of permission
    _homing: set[float] = field(default_factory=set)  # begins of windows whose last motion line was homing
    _unattended: list[list[float]] = field(default_factory=list)
    _motions: list[list[float]] = field(default_factory=list)
    _partial: bytes = b""
    _partial_allowed: bool = True

    # --- what the cell does ---

    def signed(self, permit: Permit, now: float, shield_latched: bool) -> None:
        """A shield has signed a permit."""
        self._signed[permit.incarnation, permit.sequence] = permit, now
        if shield_latched and permit.program_digest != NO_DIGEST:
            self._accuse(now, "a latched shield permits motion")

    def challenged(self, number: int, now: float) -> None:
        """The machine has shown this challenge."""
        self._challenges.setdefault(number, now)
        if len(self._challenges) > 2:
            del self._challenges[next(iter(self._challenges))]  # the machine knows the two newest

    def began(self, digest: Digest, now: float) -> None:
        """The machine has accepted an execution."""
        if self._stopped:
            self._accuse(now, "an execution began on a latched machine")
        self._digest, self._incarnation, self._until_s = digest, 0, -math.inf

    def arrived(self, permit: Permit, now: float, rate: float) -> None:
        """A permit has reached the machine, whoever sent it. `rate` is that of the machine's clock."""
        found = self._signed.get((permit.incarnation, permit.sequence))
        made_s = self._challenges.get(permit.challenge, -math.inf)
        newer = (permit.incarnation, permit.sequence) > self._newest
        if found is None or found[0] != permit or not newer or now - made_s > CHALLENGE_LIFE_S / rate + 1e-9:
            return
        self._newest = permit.incarnation, permit.sequence
        if self._digest == NO_DIGEST or self._stopped:
            return
        self._incarnation = self._incarnation or permit.incarnation
        if permit.incarnation != self._incarnation:
            self.stop(now)
        elif permit.program_digest == self._digest:
            self.oldest_s = max(self.oldest_s, now - found[1])
            self._until_s = now + VALID_S / rate
            if self._windows and now <= self._windows[-1][1]:
                self._windows[-1][1] = self._until_s
            else:
                self._windows.append([now, self._until_s])

    def end(self, now: float) -> None:
        """The execution is over, by whatever cause: no permission is left."""
        self._digest, self._until_s = NO_DIGEST, min(self._until_s, now)
        if self._windows:
            self._windows[-1][1] = min(self._windows[-1][1], now)

    def stop(self, now: float) -> None:
        """A stop that only the operator ends."""
        self.end(now)
        self._stopped = True

    def unattended(self, now: float, for_s: float) -> None:
        """The machine's process is frozen or dead for so long."""
        self._unattended.append([now, now + for_s])

    def restarted(self, now: float) -> None:
        """The machine's process was killed: it knows nothing of the execution and of older permits any more."""
        self.end(now)
        self._newest = (0, 0)
        self._challenges.clear()

    def cleared(self) -> None:
        """The operator has cleared the latch."""
        self._stopped = False

    # --- what reaches the machine ---

    def handed(self, data: bytes, now: float) -> None:
        """Bytes are handed to the port."""
        allowed = now < self._until_s and not self._stopped
        if self.grbl:
            if RESUME in data and not allowed:
                self._accuse(now, "a resume without a permit")
            data = data.translate(None, REAL_TIME)
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            if MOTION.match(line.strip()):
                self.motion_lines += 1
                if not (allowed and self._partial_allowed):
                    self._accuse(now, f"'{line.decode('latin-1')[:60]}' without a permit")
                elif self._windows:
                    change = self._homing.add if HOMING.match(line.strip()) else self._homing.discard
                    change(self._windows[-1][0])
            self._partial_allowed = True
        if rest:
            self._partial_allowed = allowed and (self._partial_allowed or not self._partial)
        self._partial = rest

    def motion(self, at_s: float, event: str) -> None:
        """The axes have begun to move or have come to rest."""
        if event == "motion_begin":
            self._motions.append([at_s, math.inf])
        elif self._motions:
            self._motions[-1][1] = at_s

    def conclude(self, now: float) -> None:
        """The run is over: how long motion outlasted permission."""
        for index, (begin_s, lapse_s) in enumerate(self._windows):
            again_s = self._windows[index + 1][0] if index + 1 < len(self._windows) else now
            ends = [min(end, again_s) for begin, end in self._motions if begin < again_s and end > lapse_s]
            if lapse_s >= now or not ends:
                continue
            rest_s = max(ends) - lapse_s
            alone = any(begin <= lapse_s + REST_WITHIN_S and lapse_s < end for begin, end in self._unattended)
            if alone and begin_s in self._homing:
                self.homing_s.append(rest_s)
                continue
            self.rests_s.append(rest_s)
            if rest_s > REST_WITHIN_S + self.braking_s:
                self.violations.append(f"{lapse_s:.3f} s: motion {rest_s:.3f} s after permission had ended")

    def _accuse(self, at_s: float, what: str) -> None:
        """The first ones are enough to look for."""
        if len(self.violations) < 20:
            self.violations.append(f"{at_s:.3f} s: {what}")
