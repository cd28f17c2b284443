import os
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.experimental.events_executor import EventsExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from industriverse_core.errors import CoreError, ErrorCode  # noqa: E402
from industriverse_core.store import CellPaths, ProgramStore  # noqa: E402
from industriverse_msgs.srv import CompileIntent  # noqa: E402
from industriverse_ros import convert, names  # noqa: E402
from industriverse_ros.testing import bring_up, spin_until  # noqa: E402
from intent_node.node import IntentNode  # noqa: E402

GCODE = "; filament_type = {}\nG28\nG1 X10 Y10 F3000\nG1 X20 E1\n"


def node_with(tmp_path, **values):
    parameters = {"cell_dir": str(tmp_path / "cell"), "programs_dir": str(tmp_path / "programs"), **values}
    return IntentNode(parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()])


@pytest.fixture
def ask(ros, tmp_path):
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "clip_pla.gcode").write_text(GCODE.format("PLA"))
    (folder / "notes.txt").write_text("no program")
    executor = EventsExecutor()
    node = bring_up(node_with(tmp_path))
    client_node = rclpy.create_node("asking")
    executor.add_node(node)
    executor.add_node(client_node)
    client = client_node.create_client(CompileIntent, names.COMPILE_INTENT)
    assert spin_until(executor, client.service_is_ready)

    def ask(intent, **fields):
        future = client.call_async(CompileIntent.Request(intent=intent, **fields))
        assert spin_until(executor, future.done, 60.0)
        assert node.failure is None
        return future.result()

    ask.node = node
    yield ask
    executor.shutdown()


def test_sentence_to_stored_program(ask, tmp_path):
    answer = ask("make 3 clips in pla")
    assert (answer.error_code, answer.error_msg) == (0, "")
    assert (answer.quantity, answer.material, answer.program.name) == (3, "PLA", "clip_pla")
    assert answer.understood == "3 copies of clip_pla.gcode in PLA"
    program = ProgramStore.load(convert.ref_from_msg(answer.program))
    assert len(program) == answer.program.instruction_count > 0
    assert list(CellPaths(tmp_path / "cell").programs.glob("*.arrow"))
    path = ask(str(tmp_path / "programs" / "clip_pla.gcode"))
    assert path.program.digest.tolist() == answer.program.digest.tolist()
    stored = ask(answer.program.uri.removeprefix("file://").split("#")[0])
    assert stored.program.digest.tolist() == answer.program.digest.tolist()


def test_diagnostics_say_how_often_it_was_asked_and_had_an_answer(ask):
    ask("make 3 clips in pla")
    ask("gibberish")
    assert ask.node.health()[2] == {"asked": 2, "compiled": 1}


def test_a_new_file_is_seen(ask, tmp_path):
    assert ask("hook").error_code == ErrorCode.INTENT_NOT_UNDERSTOOD
    (tmp_path / "programs" / "hook.gcode").write_text(GCODE.format("PETG"))
    os.utime(tmp_path / "programs", ns=(time.time_ns(), time.time_ns()))
    assert ask("hook").material == "PETG"


def test_the_material_is_the_one_that_the_gates_take(ask, tmp_path):
    cases = {"PLA;PLA": "PLA", "": "PLA", "PLA;PETG": None, "FLEX": None}
    for written, material in cases.items():
        path = tmp_path / "part.gcode"
        path.write_text(GCODE.format(written))
        answer = ask(str(path))
        assert answer.material == (material or "")
        assert answer.error_code == (ErrorCode.OK if material else ErrorCode.UNKNOWN_MATERIAL), answer.error_msg


def test_a_changed_file_is_read_again(ask, tmp_path):
    first = ask("clip")
    path = tmp_path / "programs" / "clip_pla.gcode"
    path.write_text(path.read_text() + "G1 X30\n")
    assert ask("clip").program.instruction_count == first.program.instruction_count + 1


def test_bad_input_is_one_refusal(ask, tmp_path):
    (tmp_path / "empty.gcode").write_bytes(b"")
    (tmp_path / "rubbish.gcode").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "zero.arrow").write_bytes(b"ARROW1")
    os.mkfifo(tmp_path / "fifo.gcode")
    cases = {
        "/no/such/file.gcode": ErrorCode.FILE_NOT_FOUND,
        str(tmp_path): ErrorCode.FILE_IS_DIRECTORY,
        str(tmp_path / "empty.gcode"): ErrorCode.FILE_EMPTY,
        str(tmp_path / "rubbish.gcode"): ErrorCode.NOT_A_PROGRAM,
        str(tmp_path / "zero.arrow"): ErrorCode.BYTECODE_BROKEN,
        str(tmp_path / "fifo.gcode"): ErrorCode.FILE_UNREADABLE,
        "/" + "x" * 300: ErrorCode.FILE_UNREADABLE,
        "a rocket": ErrorCode.INTENT_NOT_UNDERSTOOD,
    }
    for intent, code in cases.items():
        answer = ask(intent)
        assert answer.error_code == code, (intent, answer.error_msg)
        assert answer.error_msg
        assert not any(answer.program.digest)
    assert ask("clip", machine_id="another").error_code == ErrorCode.UNKNOWN_MACHINE


@pytest.mark.parametrize("values", [{"programs_dir": "/no/such/folder"}, {"machine": "unheard"}, {"cell_dir": ""}])
def test_bad_parameters(ros, tmp_path, values):
    (tmp_path / "programs").mkdir()
    with pytest.raises(CoreError):
        bring_up(node_with(tmp_path, **values))


def test_a_store_that_cannot_be_written_is_said(ask, tmp_path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "programs").write_text("in the way")
    answer = ask("clip")
    assert answer.error_code == ErrorCode.STORE_UNAVAILABLE
