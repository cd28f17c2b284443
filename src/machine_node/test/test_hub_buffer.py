"""The record: what was written is read back, after death, rotation, a full disk, and while it is written."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from machine_node.hub.buffer import EVENT_ROWS, LIVE_NAME, Limits, Now, TelemetryBuffer, record_files, rotated_files
from machine_node.hub.reading import RecordReader, find_record
from machine_node.hub.rows import OF_NAME, POWER, layout
from machine_node.hub.superblock import checksum, clear_flags, has_flags

PLENTY = 1 << 60
CHUNK = POWER.chunk_rows
SMALL = Limits(min_free_bytes=0)


def now(t=0.0):
    return Now(1000.0 + t, 50.0 + t, 1.7e9 + t)


def power_rows(first, count, t=0.0):
    return [
        (n, n, 1000.0 + t, 50.0 + t, 0.0, n, 230.0, 0.5, float(n % 1000), float(n)) for n in range(first, first + count)
    ]


def buffer(folder, limits=SMALL, free=lambda _: PLENTY, machines=("m",)):
    return TelemetryBuffer(folder, machines, limits, free)


def stored(folder, name="m/power"):
    """Numbers of all rows in all files, and the values that say which they are."""
    rows = []
    for path in record_files(folder):
        with RecordReader(path) as reader:
            if any(info.name == name for info in reader.streams):
                rows.append(reader.rows(name))
    return np.concatenate(rows)


def kinds(folder):
    return [kind.decode() for kind in stored(folder, EVENT_ROWS)["kind"]]


@settings(max_examples=15)
@given(steps=st.lists(st.tuples(st.integers(0, 3 * CHUNK), st.booleans()), max_size=8))
def test_what_was_written_is_read_back_at_every_moment(steps):
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, count = Path(name), 0
        made = buffer(folder)
        stack.callback(lambda: made.close(now()))
        for t, (size, again) in enumerate(steps):
            made.flush({"m/power": power_rows(count, size, t)}, now(t))
            count += size
            with RecordReader(made.path) as reader:  # while it is open for writing
                rows = reader.rows("m/power")
                assert np.array_equal(rows["row"], np.arange(count) + 1)
                assert np.array_equal(rows["energy_j"], np.arange(count))
                later = reader.rows("m/power", after_row=count // 2)
                assert np.array_equal(later["row"], np.arange(count // 2, count) + 1)
                assert len(reader.rows("m/power", most=5)) == min(5, count)
            if again:
                made.close(now(t))
                made = buffer(folder)


def test_a_reader_that_stays_open_sees_what_comes(tmp_path):
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, 3)}, now())
    with RecordReader(made.path) as reader:
        assert len(reader.rows("m/power")) == 3
        made.flush({"m/power": power_rows(3, 2 * CHUNK, 1)}, now(1))
        assert np.array_equal(reader.rows("m/power")["energy_j"], np.arange(2 * CHUNK + 3))
        assert np.array_equal(reader.rows("m/power", since_s=1001.0)["energy_j"], np.arange(3, 2 * CHUNK + 3))
    made.close(now(2))


def test_every_column_of_every_stream_has_a_unit_and_a_text(tmp_path):
    buffer(tmp_path).close(now())
    with h5py.File(tmp_path / LIVE_NAME, "r") as file:
        assert file.attrs["format"] == "industriverse-telemetry"
        for name, stream in layout(("m",)).items():
            rows = file[f"{name}/rows"]
            assert rows.dtype == stream.dtype
            for column in stream.all_columns:
                assert rows.attrs[f"{column.name}.units"] == column.unit
                assert column.unit or column.type.startswith("S")
                assert f"{column.name}.description" in rows.attrs
    assert len(OF_NAME) == 10


WRITER = """
import sys
sys.path[:0] = [{here!r}]
from test_hub_buffer import *
made = buffer(Path({folder!r}))
first = {first}
for n in range(10**6):
    size = 1 + (n * 37) % 300
    made.flush({{"m/power": power_rows(first, size, n)}}, now(n))
    first += size
    print(first, flush=True)
"""


def test_kill_loses_at_most_what_was_not_flushed_and_the_file_goes_on(tmp_path):
    """Killed at four different moments of its work; after each, the next writer goes on in the same file."""
    here, count = os.path.dirname(__file__), 0
    for round_number in range(4):
        code = textwrap.dedent(WRITER).format(here=here, folder=str(tmp_path), first=count)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(5 + 7 * round_number):
            said = child.stdout.readline()
            assert said
        child.send_signal(signal.SIGKILL)
        confirmed = int((said + child.stdout.read()).split()[-1])
        child.wait()
        rows = stored(tmp_path)  # readable before anybody mends it
        assert len(rows) >= confirmed
        count = len(rows)
        assert np.array_equal(rows["energy_j"], np.arange(count))
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(count, 5)}, now())
    made.close(now())
    assert np.array_equal(stored(tmp_path)["energy_j"], np.arange(count + 5))
    assert rotated_files(tmp_path) == []
    assert kinds(tmp_path).count("continued") == 4
    with h5py.File(tmp_path / LIVE_NAME, "r") as file:  # plain again, for every HDF5 program
        assert file["m/power/rows"].shape[0] > 0


def test_a_cut_row_of_the_tail_does_not_count(tmp_path):
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, 9)}, now())
    made.close(now())
    with h5py.File(tmp_path / LIVE_NAME, "r+") as file:
        tail = file["m/power/tail"]
        slots = tail[()]
        slots["row_again"][4] = 0
        tail[...] = slots
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(9, 2)}, now())
    made.close(now())
    assert stored(tmp_path)["energy_j"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("damage", ["middle", "short", "other", "superblock"])
def test_a_file_that_cannot_be_gone_on_with_is_kept_aside(tmp_path, damage):
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, CHUNK + 3)}, now())
    made.close(now())
    path = tmp_path / LIVE_NAME
    data = bytearray(path.read_bytes())
    if damage == "middle":
        data[48:4000] = os.urandom(3952)
    elif damage == "short":
        del data[len(data) // 2 :]
    elif damage == "superblock":
        data[20] ^= 1
    else:
        data = bytearray(b"not HDF5 at all")
    path.write_bytes(data)
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, 4)}, now(1))
    made.close(now(1))
    assert made.problem is None
    (aside,) = rotated_files(tmp_path)
    assert aside.stat().st_size >= len(data)
    with RecordReader(path) as reader:
        assert len(reader.rows("m/power")) == 4
        assert b"torn" in reader.rows(EVENT_ROWS)["kind"]


def test_other_machines_get_a_file_of_their_own(tmp_path):
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, 4)}, now())
    made.close(now())
    made = buffer(tmp_path, machines=("m", "n"))
    made.flush({"n/power": power_rows(0, 4)}, now(1))
    made.close(now(1))
    assert len(rotated_files(tmp_path)) == 1
    assert len(stored(tmp_path)) == 4


def test_rotation_by_size_and_by_age_keeps_the_newest_files(tmp_path):
    made = buffer(tmp_path, Limits(file_bytes=200_000, file_age_s=1000.0, kept_bytes=700_000, min_free_bytes=0))
    rng = np.random.default_rng(1)
    for t in range(80):
        rows = [(*row[:-1], value) for row, value in zip(power_rows(512 * t, 512), rng.random(512), strict=True)]
        made.flush({"m/power": rows}, now(t))
    sizes = [path.stat().st_blocks * 512 for path in record_files(tmp_path)]
    assert len(sizes) >= 3
    assert sum(sizes[:-1]) <= 700_000
    assert max(sizes) < 300_000
    numbers = stored(tmp_path)["row"]
    assert np.array_equal(numbers, np.arange(numbers[0], 512 * 80 + 1))  # what is kept has no hole
    assert numbers[0] > 1
    made.flush({}, now(3000))
    made.close(now(3000))
    with RecordReader(made.path) as reader:
        assert len(reader.rows("m/power")) == 0


def test_a_full_disk_is_said_and_nothing_is_lost_within_the_limit(tmp_path):
    left = [PLENTY]
    made = buffer(tmp_path, Limits(min_free_bytes=100), free=lambda _: left[0])
    made.flush({"m/power": power_rows(0, 10)}, now(0))
    left[0] = 99
    for t in range(1, 30):
        made.flush({"m/power": power_rows(10 * t, 10)}, now(t))
    assert made.problem.code is ErrorCode.FILE_UNREADABLE
    assert "disk is full" in made.problem.message
    with RecordReader(made.path) as reader:
        assert len(reader.rows("m/power")) == 10
    left[0] = PLENTY
    made.flush({}, now(200))
    assert made.problem is None
    made.close(now(201))
    assert np.array_equal(stored(tmp_path)["energy_j"], np.arange(300))
    assert [kind for kind in kinds(tmp_path) if kind in ("disk", "resumed", "lost")] == ["disk", "resumed"]


def test_memory_is_bounded_and_what_was_given_up_is_a_gap_in_the_numbers(tmp_path):
    left = [0]
    made = buffer(tmp_path, Limits(min_free_bytes=100, pending_rows=1000), free=lambda _: left[0])
    for t in range(30):
        made.flush({"m/power": power_rows(100 * t, 100)}, now(t))
        assert made.pending_rows <= 1000 + 1
    left[0] = PLENTY
    made.flush({}, now(200))
    made.close(now(201))
    rows = stored(tmp_path)
    assert np.array_equal(rows["row"], rows["energy_j"] + 1)  # the numbers count the lost ones, too
    assert made.lost_rows == 3000 - len(rows) > 0
    events = stored(tmp_path, EVENT_ROWS)
    assert events["count"][events["kind"] == b"lost"].sum() == made.lost_rows


def test_errors_in_the_middle_of_writing_lose_nothing(tmp_path):
    """A real limit of the size of files: HDF5 fails in the middle, and forgets what it was about to write."""
    code = f"""
        import resource, signal, sys
        sys.path[:0] = [{os.path.dirname(__file__)!r}]
        from test_hub_buffer import *
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        made = buffer(Path({str(tmp_path)!r}))
        made.flush({{"m/power": power_rows(0, 700)}}, now())
        size = made.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3000, hard))
        for t in range(1, 20):
            made.flush({{"m/power": power_rows(700 * t, 700, t)}}, now(t))
        assert made.problem is not None
        assert "cannot be written" in made.problem.message
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        made.flush({{}}, now(200))
        assert made.problem is None, made.problem
        made.close(now(201))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    numbers, first = np.unique(stored(tmp_path)["row"], return_index=True)
    assert np.array_equal(numbers, np.arange(14000) + 1)
    assert np.array_equal(stored(tmp_path)["energy_j"][first], np.arange(14000))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def flagged(data):
    """As a killed writer leaves a file."""
    data = bytearray(data)
    data[11] = 5
    data[44:48] = checksum(bytes(data[:44])).to_bytes(4, "little")
    return data


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_neither_hang_nor_crash_reader_and_writer(tmp_path, seed):
    made = buffer(tmp_path / "good")
    for t in range(3):
        made.flush({"m/power": power_rows(300 * t, 300)}, now(t))
    made.close(now())
    rng = np.random.default_rng(seed)
    data = made.path.read_bytes()
    data = flagged(data) if seed % 2 else bytearray(data)
    for place in rng.integers(48, 6000 if seed % 3 else len(data), 1 + seed * 4):
        data[place] ^= 1 << rng.integers(8)
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / LIVE_NAME).write_bytes(data)
    with contextlib.suppress(CoreError), RecordReader(folder / LIVE_NAME) as reader:
        for info in reader.streams:
            reader.rows(info.name)
    made = buffer(folder)
    made.flush({"m/power": power_rows(0, 3)}, now())
    assert made.problem is None
    made.close(now())


def test_a_killed_writers_file_is_read_as_it_is_and_stays_as_it_is(tmp_path):
    made = buffer(tmp_path)
    made.flush({"m/power": power_rows(0, 700)}, now())
    made.close(now())
    torn = tmp_path / "copy.h5"
    torn.write_bytes(flagged(made.path.read_bytes()))
    before = torn.read_bytes()
    assert has_flags(torn)
    with RecordReader(torn) as reader:
        assert np.array_equal(reader.rows("m/power")["energy_j"], np.arange(700))
    assert torn.read_bytes() == before


def test_two_writers_refuse_each_other(tmp_path):
    made = buffer(tmp_path)
    with pytest.raises(CoreError) as error:
        buffer(tmp_path)
    assert error.value.code is ErrorCode.BUSY
    made.close(now())


def test_what_is_no_record_is_one_sentence(tmp_path):
    for name, content in (("a.h5", b"text"), ("b.h5", b"")):
        (tmp_path / name).write_bytes(content)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = 1
    for name in ("a.h5", "b.h5", "c.h5"):
        with pytest.raises(CoreError) as error:
            RecordReader(tmp_path / name)
        assert error.value.code is ErrorCode.RECORD_BROKEN
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(CoreError):
            RecordReader(path)
    with pytest.raises(CoreError) as error:
        find_record(tmp_path / "nowhere", tmp_path)
    assert error.value.code is ErrorCode.FILE_NOT_FOUND


def test_the_checksum_is_lookup3s():
    """Values from the test driver in Bob Jenkins' lookup3.c."""
    assert checksum(b"") == 0xDEADBEEF
    assert checksum(b"Four score and seven years ago") == 0x17770551


def test_flags_of_a_clean_file_are_left_alone(tmp_path):
    buffer(tmp_path).close(now())
    before = (tmp_path / LIVE_NAME).read_bytes()
    assert not clear_flags(tmp_path / LIVE_NAME)
    assert (tmp_path / LIVE_NAME).read_bytes() == before
    (tmp_path / "x").write_bytes(b"short")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        clear_flags(tmp_path / "x")
