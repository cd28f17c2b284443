"""Whether two accounts of the same states agree: what was decided live, and what the logic decides again."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE_S = 0.2  # two periods of SafetyState: messages of different senders reach recorder and node in another order


@dataclass(frozen=True, slots=True)
class Difference:
    """The first moment from which the two disagreed for longer than the tolerance."""

    now_s: float
    live: str
    again: str
    evidence: str


@dataclass(slots=True)
class Comparison:
    """Follows both accounts.

    Attributes:
        moments: how often they were compared.
        brief: disagreements that ended within the tolerance.
        first: the first one that did not.
    """

    moments: int = 0
    brief: int = 0
    first: Difference | None = None
    _open: Difference | None = None

    def see(self, now_s: float, live: str, again: str, evidence: str) -> None:
        """Both accounts at one moment; `evidence` says what the live one rested on."""
        self.moments += 1
        if live == again:
            if self._open is not None:
                self.brief += 1
            self._open = None
            return
        if self._open is None:
            self._open = Difference(now_s, live, again, evidence)
        elif self.first is None and now_s - self._open.now_s > TOLERANCE_S:
            self.first = self._open

    @property
    def agree(self) -> bool:
        """No disagreement lasted."""
        return self.first is None
