"""The telemetry hub with 20 machines: CPU and losses, without and with DDS; bytes on disk for a machine-hour.

Each machine sends 20 Hz telemetry, 50 Hz joint states, 10 Hz power, 10 Hz trace, residual, safety and job states.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MACHINES = 20
PURE_S = 120  # of telemetry, as fast as it goes
DDS_S = 15.0
RATES_HZ = {
    "telemetry": 20, "joint_states": 50, "power": 10, "execution_trace": 10, "residual": 10, "safety_state": 10,
    "job_state": 10,
}  # fmt: skip
PROFILE_TEXT = "prusa_mk3s"


class Source:
    """Plausible messages of one machine: values move, and have the noise and steps that controllers and meters have."""

    def __init__(self, machine: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._machine = machine
        self._energy_j = 0.0

    def message(self, stream: str, t: float):
        from industriverse_ros import convert

        msg = getattr(self, f"_{stream}")(t)
        stamp = convert.time_to_msg(1.8e9 + t)
        if hasattr(msg, "header"):
            msg.header.stamp = stamp
        else:
            msg.stamp = stamp
        return msg

    def _xyz(self, t: float) -> tuple[float, float, float]:
        return 0.1 + 0.05 * math.sin(3.1 * t), 0.1 + 0.05 * math.cos(2.7 * t), 2e-4 * (1 + t // 30)

    def _telemetry(self, t: float):
        from industriverse_core import telemetry as c
        from industriverse_core.program import Heater
        from industriverse_ros import convert

        noise = self._random.gauss
        hot_c, warm_c = round(210 + noise(0, 0.3), 2), round(60 + noise(0, 0.1), 2)
        return convert.telemetry_to_msg(
            c.TelemetrySample(
                0.0, self._machine, 17, self._random.getrandbits(63), c.MachineState.EXECUTING, job_id="J1",
                instruction=int(50 * t), progress=t / 3600, position_m=self._xyz(t),
                reported_position_m=self._xyz(t // 1),
                heaters=(
                    c.HeaterReading(Heater.HOTEND, hot_c, 210.0, round(0.4 + noise(0, 0.05), 3)),
                    c.HeaterReading(Heater.BED, warm_c, 60.0, round(0.3 + noise(0, 0.05), 3)),
                ),
                fan=0.5, power_w=round(120 + noise(0, 5), 3), energy_j=self._energy_j, permit_sequence=int(20 * t),
                permit_age_s=0.025 + noise(0, 0.005), queued_s=0.19 + noise(0, 0.005),
            )
        )  # fmt: skip

    def _joint_states(self, t: float):
        from sensor_msgs.msg import JointState

        return JointState(
            name=["x", "y", "z", "e"], position=[*self._xyz(t), 0.002 * t],
            velocity=[0.155 * math.cos(3.1 * t), -0.135 * math.sin(2.7 * t), 0.0, 0.002],
        )  # fmt: skip

    def _power(self, t: float):
        from industriverse_core import telemetry as c
        from industriverse_ros import convert

        watts = round(120 + self._random.gauss(0, 5), 3)
        self._energy_j = round(self._energy_j + watts / 10, 2)
        return convert.power_to_msg(
            c.PowerSample(
                0.0, self._machine, 1.8e9 + t + 0.004, round(t, 3), 1.8e9, 23.98, watts / 24, watts, self._energy_j
            )
        )

    def _execution_trace(self, t: float):
        from industriverse_core import telemetry as c
        from industriverse_ros import convert

        done = int(50 * t)
        return convert.trace_to_msg(
            c.Trace(0.0, self._machine, "J1", bytes(range(32)), done + 12, done + 8, done, 10**6)
        )

    def _residual(self, t: float):
        from industriverse_core import telemetry as c
        from industriverse_ros import convert

        noise = self._random.gauss
        channels = tuple(c.ResidualChannel(q, 100.0 + noise(0, 1), 100.0 + noise(0, 1), 2.0) for q in c.Quantity)
        return convert.residual_to_msg(
            c.ResidualSample(0.0, self._machine, 9, "J1", bytes(range(32)), int(50 * t), channels, 0.001)
        )

    def _safety_state(self, t: float):
        import industriverse_msgs.msg as im

        age = self._random.random
        sources = [
            im.SourceHealth(source=name, age_s=0.1 * age(), limit_s=0.5, fresh=True)
            for name in ("machine", "twin", "conductor")
        ]
        return im.SafetyState(machine_id=self._machine, state=3, permits_issued=int(20 * t), sources=sources)

    def _job_state(self, t: float):
        import industriverse_msgs.msg as im

        return im.JobState(machine_id=self._machine, job_id="J1", state=8, progress=t / 3600, copy=1, quantity=1)


def names_of_machines() -> tuple[str, ...]:
    return tuple(f"machine_{number:02d}" for number in range(MACHINES))


def run() -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        yield from _pure(Path(folder) / "pure")
        yield from _over_dds(Path(folder) / "dds")


def _pure(folder: Path) -> Iterator[dict]:
    """The recorder and the file, fed with messages that were made before; one simulated second a flush."""
    from machine_node.hub.buffer import Limits, Now, TelemetryBuffer
    from machine_node.hub.reading import RecordSet
    from machine_node.hub.recorder import Recorder

    machines = names_of_machines()
    sources = {machine: Source(machine, number) for number, machine in enumerate(machines)}
    limits = Limits(min_free_bytes=0)
    recorder, buffer = Recorder(machines), TelemetryBuffer(folder, machines, limits)
    cpu_s, rows, sizes = 0.0, 0, {}
    for second in range(PURE_S):
        made = [
            (machine, stream, second + k / rate, source.message(stream, second + k / rate))
            for machine, source in sources.items()
            for stream, rate in RATES_HZ.items()
            for k in range(rate)
        ]
        begin = time.process_time()
        for machine, stream, t, msg in made:
            recorder.add(machine, stream, msg, 1.8e9 + t + 0.002, 1000.0 + t)
        buffer.flush(recorder.take(), Now(1.8e9 + second, 1000.0 + second, 1.8e9 + second))
        cpu_s += time.process_time() - begin
        rows += len(made)
        assert buffer.problem is None, buffer.problem
        sizes[second] = buffer.path.stat().st_blocks * 512
    buffer.close(Now(1.8e9 + PURE_S, 1000.0 + PURE_S, 1.8e9 + PURE_S))
    with RecordSet.find(folder, folder) as records:
        read = sum(len(records.rows(f"{machine}/{stream}")) for machine in machines for stream in RATES_HZ)
    half = PURE_S // 2  # the empty file and the tails are there once
    growth = (sizes[PURE_S - 1] - sizes[half - 1]) / (PURE_S - half) / MACHINES * 3600.0
    common = {"machines": MACHINES, "rows_per_s": rows // PURE_S}
    yield {"metric": "hub CPU without DDS", "value": round(100.0 * cpu_s / PURE_S, 1), "unit": "% of a core", **common}
    yield {"metric": "hub rows at full speed", "value": round(rows / cpu_s), "unit": "rows/s of CPU time", **common}
    yield {"metric": "hub rows not read back", "value": rows - read, "unit": "rows", "goal": 0, "written": rows}
    yield {"metric": "hub disk", "value": round(growth / 1e6, 2), "unit": "MB/machine-hour", **common}


def _over_dds(folder: Path) -> Iterator[dict]:
    import domain_coordinator

    with domain_coordinator.domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        yield from _measure(folder)


def _profiles(folder: Path) -> list[str]:
    """The same profile under as many names."""
    from industriverse_core.machine import MACHINE_FOLDER

    text = (MACHINE_FOLDER / f"{PROFILE_TEXT}.yaml").read_text()
    paths = []
    for machine in names_of_machines():
        path = folder / f"{machine}.yaml"
        path.write_text(text.replace(f"id: {PROFILE_TEXT}", f"id: {machine}", 1))
        paths.append(str(path))
    return paths


def publish(seconds: float) -> None:
    """The other process: all machines. Says how many messages it has sent of each stream."""
    import rclpy
    from sensor_msgs.msg import JointState

    import industriverse_msgs.msg as im
    from industriverse_ros import names, qos

    rclpy.init()
    node = rclpy.create_node("machines", namespace="benchmark")
    kinds = {
        "telemetry": (im.MachineTelemetry, names.telemetry, qos.SENSOR),
        "joint_states": (JointState, names.joint_states, qos.SENSOR),
        "power": (im.PowerReading, names.power, qos.SENSOR),
        "execution_trace": (im.ExecutionTrace, names.execution_trace, qos.EVENT),
        "residual": (im.Residual, names.residual, qos.SENSOR),
        "safety_state": (im.SafetyState, names.safety_state, qos.STATE),
    }
    events = []
    jobs = node.create_publisher(im.JobState, names.JOB_STATE, qos.EVENT)
    out = []
    for number, machine in enumerate(names_of_machines()):
        source = Source(machine, number)
        for stream, rate in RATES_HZ.items():
            if stream in kinds:
                kind, name, profile = kinds[stream]
                publisher = node.create_publisher(kind, name(machine), profile)
            else:
                publisher = jobs
            out.append(publisher)
            msg = source.message(stream, 1.0)
            events += [((k + number / MACHINES) / rate, publisher, msg) for k in range(int(seconds * rate))]
    deadline = time.monotonic() + 30
    while not all(publisher.get_subscription_count() for publisher in out) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    begin = time.monotonic()
    for at, publisher, msg in sorted(events, key=lambda event: event[0]):
        time.sleep(max(0.0, begin + at - time.monotonic()))
        publisher.publish(msg)
    print(len(events), flush=True)
    time.sleep(1.0)
    rclpy.shutdown()


def _measure(folder: Path) -> Iterator[dict]:
    import psutil

    from machine_node.hub.reading import RecordSet

    folder.mkdir()
    parameters = {"machines": ",".join(_profiles(folder)), "cell_dir": str(folder), "min_free_mib": 0}
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "machine_node.hub.node", "--ros-args", "-r", "__ns:=/benchmark", *words]
    hub = subprocess.Popen(command)
    try:
        sender = subprocess.Popen(
            [sys.executable, "-c", f"from benchmarks.telemetry_hub import publish; publish({DDS_S})"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        before = sum(psutil.Process(hub.pid).cpu_times()[:2])
        sent = int(sender.stdout.readline())
        cpu_s = sum(psutil.Process(hub.pid).cpu_times()[:2]) - before
        sender.wait()
    finally:
        hub.terminate()
        hub.wait(20)
    with RecordSet.find(folder, folder) as records:
        read = {
            stream: sum(len(records.rows(f"{machine}/{stream}")) for machine in names_of_machines())
            for stream in RATES_HZ
        }
    lost = {stream: round(MACHINES * rate * DDS_S) - read[stream] for stream, rate in RATES_HZ.items()}
    common = {"machines": MACHINES, "sent": sent, "lost_by_stream": lost}
    yield {
        "metric": "hub CPU with DDS, start included",
        "value": round(100.0 * cpu_s / DDS_S, 1),
        "unit": "% of a core",
    }
    yield {
        "metric": "hub messages lost over DDS",
        "value": sent - sum(read.values()),
        "unit": "messages",
        "goal": 0,
        **common,
    }
