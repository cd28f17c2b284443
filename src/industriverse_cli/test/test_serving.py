"""serve: becomes the doors' node of a running cell, or says in one line why not."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest


def note(home, domain):
    """A cell folder as ./cell up leaves it, for this process."""
    (home / "demo").mkdir()
    content = {"cell": "demo", "namespace": "demo", "domain_id": domain, "pid": os.getpid(), "machine": "prusa_mk3s"}
    (home / "demo" / "cell.json").write_text(json.dumps(content))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    note(tmp_path, 42)
    return tmp_path


class Became(Exception):  # noqa: N818 - what the process would have become
    pass


@pytest.fixture
def became(monkeypatch):
    """Parameters and environment of the process that serve becomes."""
    pytest.importorskip("rclpy")

    def execve(path, command, environment):
        raise Became(path, command, environment)

    monkeypatch.setattr(os, "execve", execve)

    def serve(*words):
        from industriverse_cli.main import main

        with pytest.raises(Became) as seen:
            main(["serve", *words])
        path, command, environment = seen.value.args
        assert command[:3] == [path, "-m", "machine_node.doors.node"]
        given = [command[i + 1].split(":=", 1) for i, word in enumerate(command) if word == "-p"]
        assert "__ns:=/demo" in command
        return {name: json.loads(value) for name, value in given}, environment

    return serve


def test_serve_opens_what_is_named_in_the_cells_domain(home, became):
    parameters, environment = became("--mtconnect", "5001", "--host", "0.0.0.0", "--opcua-nodesets", "12")
    ports = {name: parameters[f"{name}_port"] for name in ("opcua", "mtconnect", "foxglove")}
    assert ports == {"opcua": 0, "mtconnect": 5001, "foxglove": 0}
    assert (parameters["host"], parameters["machine"], parameters["opcua_nodesets"]) == ("0.0.0.0", "prusa_mk3s", "12")
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def test_serve_opens_all_at_their_usual_ports(home, became):
    parameters, _ = became("demo", "--machine", "ender3")
    assert [parameters[f"{name}_port"] for name in ("opcua", "mtconnect", "foxglove")] == [4840, 5000, 8765]
    assert parameters["host"] == "127.0.0.1"
    assert parameters["machine"] == "ender3"


def test_a_cell_that_does_not_run(home, run):
    status, out, err = run("serve", "other")
    assert (status, out) == (1, "")
    assert err.startswith("industriverse: [CELL_NOT_RUNNING] the cell 'other' does not run")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [("--mtconnect", "70000"), ("--mtconnect", "x"), ("a/b",), ("--colour",)])
def test_bad_usage_is_one_line(home, run, words):
    status, out, err = run("serve", *words)
    assert (status, out) == (2, "")
    assert err.startswith("industriverse: [USAGE] ")
    assert err.count("\n") == 1


def test_serving_a_cell_and_ending_it(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    note(tmp_path, ros_domain)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "industriverse_cli.main", "serve", "--mtconnect", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == f"MTConnect: http://127.0.0.1:{port}/current\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/probe", timeout=20) as answer:
            assert b"prusa_mk3s" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
