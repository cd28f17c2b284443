"""CPU time of the side doors' node by machines and open doors: telemetry at 20 Hz over DDS, one client at each door.

The fed machines are copies of one profile under other names. Joint states come at 50 Hz, residuals and the shield's
states at 10 Hz, as in a cell. CPU time is the node's own process, from its operating system's account.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from domain_coordinator import domain_id

MACHINES = (1, 20)
SECONDS = 15.0
TICKS = os.sysconf("SC_CLK_TCK")
PROFILE = Path(__file__).parents[1] / "src/industriverse_core/industriverse_core/data/machines/prusa_mk3s.yaml"
NEEDED = {"opcua": "asyncua", "foxglove": "foxglove"}
FEEDER = """
import sys, time
import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
import industriverse_msgs.msg as im
from industriverse_ros import names, qos
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
node = rclpy.create_node("feeder", namespace="bench")
made = [(m, node.create_publisher(im.MachineTelemetry, names.telemetry(m), qos.SENSOR),
         node.create_publisher(JointState, names.joint_states(m), qos.SENSOR),
         node.create_publisher(im.Residual, names.residual(m), qos.SENSOR),
         node.create_publisher(im.SafetyState, names.safety_state(m), qos.STATE)) for m in sys.argv[2:]]
done = open(sys.argv[1], "ab", buffering=0)
tick, start = 0, time.monotonic()
while True:
    for machine, telemetry, joints, residual, safety in made:
        now = node.get_clock().now().to_msg()
        if tick % 5 in (0, 2):
            msg = im.MachineTelemetry(machine_id=machine, state=3, power_w=100.0 + tick % 7)
            msg.header.stamp, msg.position.x = now, tick % 200 * 1e-3
            msg.heaters = [im.HeaterReading(heater=1, temperature_c=210.0 + tick % 3, target_c=210.0)]
            telemetry.publish(msg)
        if tick % 5 == 0:
            residual.publish(im.Residual(machine_id=machine, channels=[im.ResidualChannel(quantity=1, sigma=1.0)]))
            safety.publish(im.SafetyState(machine_id=machine, state=3))
        joints.publish(JointState(name=["x", "y", "z"], position=[0.1, 0.1, tick * 1e-6]))
    tick += 1
    done.write(b".")
    time.sleep(max(0.0, start + tick * 0.02 - time.monotonic()))
"""


def run() -> Iterator[dict]:
    have = [door for door, library in NEEDED.items() if importlib.util.find_spec(library) is not None]
    cases = [("mtconnect",), *((door,) for door in have), ("mtconnect", *have)]
    for count in MACHINES:
        for doors in cases:
            share, feed_hz = _share(count, doors)
            yield {
                "metric": f"CPU of the doors' node, {count} machines, {' + '.join(doors)}",
                "value": round(100.0 * share, 1),
                "unit": "% of a core",
                "telemetry_hz": round(0.4 * feed_hz, 1),  # two of five ticks
            }


def _share(count: int, doors: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds a second of the node, and ticks a second that the feeder has managed."""
    with tempfile.TemporaryDirectory() as folder, domain_id() as domain:
        ticks = Path(folder) / "ticks"
        names = [f"machine_{number}" for number in range(count)]
        for name in names:
            text = re.sub(r"(?m)^id: .*", f"id: {name}", PROFILE.read_text())
            (Path(folder) / f"{name}.yaml").write_text(text)
        ports = {door: _free_port() for door in doors}
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        profiles = ",".join(f"{folder}/{name}.yaml" for name in names)
        command = [sys.executable, "-m", "machine_node.doors.node", "--ros-args", "-r", "__ns:=/bench"]
        for name, value in {"machines": profiles, **{f"{door}_port": port for door, port in ports.items()}}.items():
            command += ["-p", f"{name}:={value}"]
        node = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        helpers = [subprocess.Popen([sys.executable, "-c", FEEDER, str(ticks), *names], env=environment)]
        try:
            assert node.stdout is not None
            for _ in doors:
                node.stdout.readline()
            helpers += [subprocess.Popen([sys.executable, "-c", CLIENTS[door], str(ports[door])]) for door in doors]
            time.sleep(5.0)
            before_s, first, started_s = _cpu_s(node.pid), ticks.stat().st_size, time.monotonic()
            time.sleep(SECONDS)
            passed_s = time.monotonic() - started_s
            return (_cpu_s(node.pid) - before_s) / passed_s, (ticks.stat().st_size - first) / passed_s
        finally:
            for process in (*helpers, node):
                process.terminate()
                process.wait(30)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# one client a door: MTConnect polls all that is new every second; the others subscribe to everything
CLIENTS = {
    "mtconnect": """
import re, sys, time, urllib.request
start = f"http://127.0.0.1:{sys.argv[1]}/"
go_on = 1
while True:
    with urllib.request.urlopen(f"{start}sample?from={go_on}&count=5000") as answer:
        go_on = int(re.search(rb'nextSequence="(\\d+)"', answer.read())[1])
    time.sleep(1.0)
""",
    "opcua": """
import asyncio, logging, sys
from asyncua import Client, ua
logging.disable(logging.CRITICAL)
class Handler:
    def datachange_notification(self, node, value, data):
        pass
async def main():
    async with Client(f"opc.tcp://127.0.0.1:{sys.argv[1]}") as client:
        spaces = await client.get_namespace_array()
        words = spaces.index("urn:industriverse:machinery")
        machines = await client.nodes.objects.get_child(f"{words}:Machines")
        subscription = await client.create_subscription(200, Handler())
        for machine in await machines.get_children():
            for part in ("Process", "Consumption", "Status"):
                folder = await machine.get_child([f"{words}:Monitoring", f"{words}:{part}"])
                await subscription.subscribe_data_change(await folder.get_children())
        await asyncio.sleep(3600)
asyncio.run(main())
""",
    "foxglove": """
import asyncio, json, sys
import websockets
async def main():
    async with websockets.connect(f"ws://127.0.0.1:{sys.argv[1]}", subprotocols=["foxglove.sdk.v1"]) as line:
        async for data in line:
            if isinstance(data, str) and '"advertise"' in data:
                wanted = [{"id": each["id"], "channelId": each["id"]} for each in json.loads(data)["channels"]]
                await line.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
asyncio.run(main())
""",
}
