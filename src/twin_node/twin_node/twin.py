"""The twin of one machine: follows its telemetry, with a shadow of the present and a book for each job."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from industriverse_core.artefacts import Prediction
from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.motion import position_at
from industriverse_core.telemetry import ResidualChannel, TelemetrySample, Trace, Vector
from twin_node.account import Account
from twin_node.alignment import Alignment
from twin_node.shadow import Present, Shadow
from twin_node.timeline import Timeline

ACCOUNTS_KEPT = 16


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """What a job is compared with."""

    timeline: Timeline
    material: Material | None
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a job should be now.

    Attributes:
        instruction: that is executed, as the machine reports it.
        clock_s: the job's motion clock [s].
        in_hand_s: time since the instruction was first reported [s].
        position_m: where the plan has the tool at that clock [m].
    """

    instruction: int
    clock_s: float
    in_hand_s: float
    position_m: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """The job that is followed now, and where it is."""

    job_id: str
    timeline: Timeline
    present: Present
    prediction: Prediction | None


class Twin:
    """Observes samples, says for which job it needs an expectation, and keeps the books of the last jobs."""

    def __init__(self, profile: MachineProfile) -> None:
        self.job_id = ""  # running now
        self._profile = profile
        self._shadow = Shadow(profile)
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._stamp_s = float("-inf")

    def observe(self, sample: TelemetrySample) -> tuple[tuple[ResidualChannel, ...], Digest | None]:
        """Compare one sample and enter it into its job's book.

        Returns the channels and, when a job has just begun, the digest of the program to `expect` for it.
        A sample from the past changes neither job nor book.
        """
        begun = None
        if sample.stamp_s > self._stamp_s:
            self._stamp_s = sample.stamp_s
            begun = self._follow(sample)
            if self.job_id:
                self._accounts[self.job_id].observe(sample)
        return self._shadow.observe(sample), begun

    def motion(self, sample: TelemetrySample) -> tuple[Timeline, float] | None:
        """The program that the machine carries out and its motion clock, after `observe`; see Shadow.motion."""
        return self._shadow.motion(sample)

    def observe_trace(self, trace: Trace) -> None:
        """Enter progress into its job's book; also after the job has ended."""
        account = self._accounts.get(trace.job_id)
        if account is not None:
            account.observe_trace(trace)

    def expect(self, job_id: str, expectation: Expectation) -> None:
        """The program of a job has been simulated: follow it from the next sample on."""
        account = self._accounts.get(job_id)
        if account is None:
            return
        account.timeline, account.material = expectation.timeline, expectation.material
        account.prediction = expectation.prediction
        if job_id == self.job_id:
            self._shadow.begin(expectation.timeline, expectation.material)

    def running(self) -> Running | None:
        """The job that runs now; None without one, or while its program is not simulated yet."""
        account, present = self._accounts.get(self.job_id), self._shadow.present()
        if account is None or account.timeline is None or present is None:
            return None
        spent = {"elapsed_s": account.time_s - account.set_up_s, "energy_j": account.electric_j - account.set_up_j}
        return Running(self.job_id, account.timeline, replace(present, **spent), account.prediction)

    @property
    def alignment(self) -> Alignment:
        """How late the machine's positions are, as estimated in the present job."""
        return self._shadow.alignment

    def is_expected(self, job_id: str) -> bool:
        """False while a job that is followed waits for its expectation."""
        account = self._accounts.get(job_id)
        return account is None or account.timeline is not None

    def moment(self) -> Moment | None:
        """Where the job should be now; None while no expected job runs."""
        running = self.running()
        if running is None:
            return None
        present, timeline = running.present, running.timeline
        state = position_at(timeline.plan, timeline.program, present.clock_s)
        return Moment(present.instruction, present.clock_s, present.in_hand_s, state.position_m)

    def account(self, job_id: str) -> Account:
        """The book of a job. Raises PredictionError (NO_LEDGER) for a job that was not seen or is too old."""
        account = self._accounts.get(job_id)
        if account is None:
            known = ", ".join(self._accounts) or "none"
            raise PredictionError(
                ErrorCode.NO_LEDGER,
                f"job '{job_id}' was not seen running on {self._profile.id}.",
                f"Known: {known}; the last {ACCOUNTS_KEPT} jobs since the twin's start are kept.",
            )
        return account

    def _follow(self, sample: TelemetrySample) -> Digest | None:
        """Notice that a job has begun or ended."""
        job_id = sample.job_id if sample.program_digest != NO_DIGEST else ""
        if job_id == self.job_id:
            return None
        self.job_id = job_id
        if not job_id:
            self._shadow.end()
            return None
        self._shadow.begin(None, None)
        if job_id not in self._accounts:
            self._accounts[job_id] = Account(job_id, sample.program_digest, self._profile)
            if len(self._accounts) > ACCOUNTS_KEPT:
                self._accounts.popitem(last=False)
        return sample.program_digest
