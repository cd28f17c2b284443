"""What a bag's messages say to the logic: bytes become the core's dataclasses, in the order of receipt, without DDS.

The bag's own definitions decode its bytes, so a bag outlives the messages it was made of. A field that a message got
later has, in an old bag, the default of today's definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from industriverse_cli.bags.model import BagMessage, Topic, broken
from industriverse_cli.bags.reader import Bag
from industriverse_core.artefacts import GateReport, ProgramRef
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, JobError
from industriverse_core.frames import CELL
from industriverse_core.permit import Permit
from industriverse_core.telemetry import PowerSample, ResidualSample, TelemetrySample, VibrationSample
from industriverse_core.threats import Decision

PACKAGE = "industriverse_msgs/msg/"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """JobState: a sign of life of the conductor, and what its job is."""

    incarnation: int
    job_id: str
    program: ProgramRef | None
    report: GateReport | None
    material: str  # that the program was predicted for, else the one it names


@dataclass(frozen=True, slots=True)
class StopAsked:
    """StopRequest."""

    machine_id: str
    level: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """Freshness of one source, as the shield saw it."""

    name: str
    age_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class SafetySeen:
    """SafetyState: what the shield decided while it was recorded."""

    machine_id: str
    incarnation: int
    state: int
    level: int
    latch_id: int
    code: int
    cause: str
    program_digest: Digest
    sources: tuple[SourceSeen, ...]


@dataclass(frozen=True, slots=True)
class Sighting:
    """PersonsSeen, in the cell's frame; a sighting in another one is dropped, as the shield does."""

    sensor: str
    incarnation: int
    positions: tuple[tuple[float, float], ...]
    uncertainty_m: float


Value = (
    TelemetrySample
    | ResidualSample
    | VibrationSample
    | PowerSample
    | Sighting
    | Heartbeat
    | StopAsked
    | SafetySeen
    | Permit
    | Decision
)


@dataclass(frozen=True, slots=True)
class Input:
    """One message for the logic.

    Attributes:
        log_ns: receipt [ns since 1970].
        now_s: receipt since the bag's first one [s]; the logic's clock.
    """

    log_ns: int
    now_s: float
    value: Value


class Decoder:
    """Decodes the messages that decisions depend on; others are passed over.

    Attributes:
        unreadable: how many messages of the last `inputs` could not be decoded; the live nodes drop them, too.
    """

    def __init__(self, bag: Bag, converters: Mapping[str, Callable[[Any], Any]] | None = None) -> None:
        """Learn the bag's types; `converters` by type name instead of those of the decisions.

        Raises InputError (BAG_BROKEN), JobError where ROS's messages are not installed.
        """
        from rosbags.typesys import Stores, get_typestore

        self.unreadable = 0
        self._store = get_typestore(Stores.EMPTY)
        converters = _converters() if converters is None else converters
        self._topics: dict[str, tuple[str, Callable[[Any], Value]]] = {}
        for topic in bag.topics.values():
            convert = converters.get(topic.type_name)
            if convert is not None:
                self._learn(bag, topic)
                self._topics[topic.name] = (topic.type_name, convert)
        self._bag = bag

    def _learn(self, bag: Bag, topic: Topic) -> None:
        from rosbags.typesys import get_types_from_msg
        from rosbags.typesys.base import TypesysError

        try:
            types = get_types_from_msg(topic.definition, topic.type_name)
            self._store.register({name: fields for name, fields in types.items() if name not in self._store.types})
        except (TypesysError, ValueError, KeyError, AssertionError) as error:
            raise broken(bag.folder, f"the definition of {topic.type_name} cannot be read") from error
        for name in types:
            if name.startswith(PACKAGE):
                _add_new_fields(self._store.types[name], name.removeprefix(PACKAGE))

    def inputs(self) -> Iterator[Input]:
        """Every message that a decision depends on, in the order of receipt. Raises InputError (BAG_BROKEN)."""
        self.unreadable = 0
        start_ns = self._bag.information.start_ns
        for message in self._bag.messages(self._topics):
            value = self._decode(message)
            if value is not None:
                yield Input(message.log_ns, (message.log_ns - start_ns) * 1e-9, value)

    def _decode(self, message: BagMessage) -> Value | None:
        from rosbags.serde import SerdeError

        type_name, convert = self._topics[message.topic]
        try:
            return convert(self._store.deserialize_cdr(message.data, type_name))
        except (SerdeError, ValueError, IndexError, AssertionError, MemoryError):  # what damage makes of CDR
            self.unreadable += 1
            return None


def _add_new_fields(kind: Any, name: str) -> None:
    """Give a class made from an old definition the fields that today's message has besides, with their defaults."""
    import industriverse_msgs.msg as im

    today = getattr(im, name, None)
    if today is None:
        return
    default = today()
    for field in today.get_fields_and_field_types():
        if field not in kind.__dataclass_fields__:
            setattr(kind, field, getattr(default, field))


def _converters() -> dict[str, Callable[[Any], Value]]:
    """How each message becomes a value, by type."""
    try:
        from industriverse_ros import convert, convert_decision
    except ImportError as error:
        raise JobError(
            ErrorCode.SERVICE_UNAVAILABLE,
            f"ROS 2's messages cannot be loaded here ({error}).",
            "Run it inside the environment: ./cell exec -- industriverse ...",
        ) from error

    def heartbeat(msg: Any) -> Heartbeat:
        program = convert.ref_from_msg(msg.program) if any(msg.program.digest) else None
        report = convert.report_from_msg(msg.report) if msg.report.verdict else None
        material = msg.prediction.material or (program.material if program else "")
        return Heartbeat(msg.incarnation, msg.job_id, program, report, material)

    def safety(msg: Any) -> SafetySeen:
        sources = tuple(SourceSeen(item.source, item.age_s, item.limit_s) for item in msg.sources)
        digest = convert.digest_from_msg(msg.program_digest)
        return SafetySeen(
            msg.machine_id, msg.incarnation, msg.state, msg.level, msg.latch_id, msg.error_code, msg.error_msg, digest,
            sources,
        )  # fmt: skip

    def sighting(msg: Any) -> Sighting:
        if msg.header.frame_id != CELL:
            raise ValueError(f"a sighting in frame '{msg.header.frame_id}'")
        positions = tuple((point.x, point.y) for point in msg.positions)
        return Sighting(msg.sensor, msg.incarnation, positions, msg.uncertainty_m)

    return {
        f"{PACKAGE}Decision": convert_decision.decision_from_msg,
        f"{PACKAGE}PersonsSeen": sighting,
        f"{PACKAGE}VibrationFeatures": convert.vibration_from_msg,
        f"{PACKAGE}PowerReading": convert.power_from_msg,
        f"{PACKAGE}MachineTelemetry": convert.telemetry_from_msg,
        f"{PACKAGE}Residual": convert.residual_from_msg,
        f"{PACKAGE}MotionPermit": convert.permit_from_msg,
        f"{PACKAGE}JobState": heartbeat,
        f"{PACKAGE}StopRequest": lambda msg: StopAsked(msg.machine_id, msg.level, msg.source, msg.reason),
        f"{PACKAGE}SafetyState": safety,
    }
