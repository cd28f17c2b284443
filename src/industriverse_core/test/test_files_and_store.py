"""The border to the file system, and the program store."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from industriverse_core.artefacts import ProgramRef
from industriverse_core.errors import ErrorCode, InputError, JobError
from industriverse_core.files import opened, read_bytes, replace_file
from industriverse_core.program import Metadata, Op, build_program, write_program
from industriverse_core.store import CellPaths, ProgramStore, RunningCell, cell_directory, home_directory, sole_owner


def code_of(path, limit=1000) -> ErrorCode:
    with pytest.raises(InputError) as caught:
        read_bytes(path, limit)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_reading(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    assert read_bytes(path, 10) == b"x" * 10
    assert code_of(path, 9) is ErrorCode.FILE_TOO_LARGE
    assert code_of(tmp_path) is ErrorCode.FILE_IS_DIRECTORY
    assert code_of(tmp_path / "b") is ErrorCode.FILE_NOT_FOUND
    assert code_of(path / "below") is ErrorCode.FILE_NOT_FOUND
    (tmp_path / "empty").touch()
    assert code_of(tmp_path / "empty") is ErrorCode.FILE_EMPTY
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") is ErrorCode.FILE_UNREADABLE  # and does not wait for a writer
    assert code_of(Path("nul\0byte")) in (ErrorCode.FILE_NOT_FOUND, ErrorCode.FILE_UNREADABLE)
    assert code_of(Path("x" * 5000)) in (ErrorCode.FILE_NOT_FOUND, ErrorCode.FILE_UNREADABLE)


def test_a_read_error_is_explained(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match="Permission denied"):
        read_bytes(path, 10)


def test_an_error_while_an_open_file_is_read_is_explained(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="Input/output error") as caught, opened(path, 10):
        raise OSError(5, "Input/output error")
    assert caught.value.code is ErrorCode.FILE_UNREADABLE


def test_a_mistake_of_the_caller_is_not_an_unreadable_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="mine"), opened(path, 10):
        raise ValueError("mine")


def test_replacing_is_whole_or_nothing(tmp_path):
    path = tmp_path / "deep" / "file"
    replace_file(path, b"one")
    replace_file(path, memoryview(b"two"), mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        replace_file(path, "not bytes")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.fixture
def program():
    return build_program([{"op": Op.HOME, "target": 7}], Metadata(name="p", material="PLA", source_line_count=3))


def test_adding_and_loading(tmp_path, program):
    store = ProgramStore(tmp_path / "with space ü")
    ref = store.add(program)
    path = store.path(program.digest)
    uri = f"{path.resolve().as_uri()}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert ref == ProgramRef(program.digest, uri, "p", "PLA", 1, 3)
    assert ProgramStore.load(ref).digest == program.digest
    before = store.path(program.digest).stat().st_mtime_ns
    assert store.add(program) == ref
    assert store.path(program.digest).stat().st_mtime_ns == before


def test_a_damaged_copy_is_refused_and_replaced_by_adding(tmp_path, program):
    store = ProgramStore(tmp_path)
    ref = store.add(program)
    store.path(program.digest).write_bytes(b"ARROW1 damaged")
    with pytest.raises(InputError) as caught:
        ProgramStore.load(ref)
    assert caught.value.code is ErrorCode.DIGEST_MISMATCH
    store.add(program)
    assert ProgramStore.load(ref).digest == program.digest


def test_another_program_at_the_address_is_refused(tmp_path, program):
    store = ProgramStore(tmp_path)
    ref = store.add(program)
    write_program(build_program([{"op": Op.HOME, "target": 1}]), store.path(program.digest))
    with pytest.raises(InputError) as caught:
        ProgramStore.load(ref)
    assert caught.value.code is ErrorCode.DIGEST_MISMATCH


def test_any_changed_byte_is_refused(tmp_path, program):
    store = ProgramStore(tmp_path)
    ref = store.add(program)
    path = store.path(program.digest)
    whole = path.read_bytes()
    for index in range(0, len(whole), 7):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises(InputError) as caught:
            ProgramStore.load(ref)
        assert caught.value.code is ErrorCode.DIGEST_MISMATCH
    path.write_bytes(whole)
    assert ProgramStore.load(ref).digest == program.digest


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///without/checksum.arrow",
        "/etc/passwd",
        "http://host/x.arrow",
        "file://elsewhere/x.arrow",
        "file://[",
    ],
)
def test_other_addresses_are_refused(uri):
    with pytest.raises(InputError) as caught:
        ProgramStore.load(ProgramRef(uri=uri))
    assert caught.value.code is ErrorCode.NOT_A_PROGRAM


def test_a_missing_program(tmp_path):
    with pytest.raises(InputError) as caught:
        ProgramStore.load(ProgramRef(uri=f"{(tmp_path / 'none.arrow').as_uri()}#sha256={'0' * 64}"))
    assert caught.value.code is ErrorCode.FILE_NOT_FOUND


def test_places_of_a_cell(monkeypatch, tmp_path):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    paths = CellPaths(cell_directory("demo"))
    assert {paths.key, paths.programs, paths.jobs, paths.starts} == {
        tmp_path / "demo" / name for name in ("permit.key", "programs", "jobs.sqlite", "starts.sqlite")
    }
    monkeypatch.delenv("INDUSTRIVERSE_HOME")
    assert home_directory() == Path.home() / ".industriverse"


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    return tmp_path


def test_a_running_cell_is_found_by_its_note(home):
    cell = RunningCell("demo", "demo", 7, os.getpid(), "prusa_mk3s")
    cell.write()
    assert RunningCell.find("demo") == cell
    cell.remove()
    cell.remove()
    with pytest.raises(JobError, match="does not run"):
        RunningCell.find("demo")


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**70])
def test_a_note_of_a_dead_process_is_no_running_cell(home, pid):
    RunningCell("demo", "demo", 7, pid, "prusa_mk3s").write()
    with pytest.raises(JobError) as caught:
        RunningCell.find("demo")
    assert caught.value.code is ErrorCode.CELL_NOT_RUNNING


def test_a_cell_has_one_owner_at_a_time(tmp_path):
    paths = CellPaths(tmp_path / "demo")
    with sole_owner(paths):
        with pytest.raises(JobError) as busy, sole_owner(paths):
            pass
        assert busy.value.code is ErrorCode.BUSY
    with sole_owner(paths):
        assert paths.run.is_dir()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"), sole_owner(CellPaths(tmp_path / "file" / "demo")):
        pass


@pytest.mark.parametrize("name", ["", "../demo", "demo/..", "1", "a b"])
def test_a_name_that_no_cell_has(home, name):
    with pytest.raises(InputError, match="no name of a cell"):
        RunningCell.find(name)
