"""From messages to rows, without ROS."""

import math
from types import SimpleNamespace

import pytest

from machine_node.hub.recorder import Recorder
from machine_node.hub.rows import MESSAGES, OF_NAME, TEXT_BYTES, clipped


def stamp(t):
    return SimpleNamespace(sec=int(t), nanosec=round((t % 1.0) * 1e9))


def trace(t, executed=1):
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(t)), job_id="J1", program_digest=bytes(32), sent=3, acknowledged=2,
        executed=executed, total=9,
    )  # fmt: skip


def job(t, code=0, text=""):
    return SimpleNamespace(
        stamp=stamp(t), job_id="J1", state=8, error_code=code, copy=1, quantity=1, progress=0.5, incarnation=7,
        error_msg=text,
    )  # fmt: skip


def test_the_offset_of_a_source_is_found_from_its_stamps():
    recorder = Recorder(("m",))
    for k in range(200):  # the source's clock is 7 s behind; messages take 1 to 3 ms
        recorder.add("m", "execution_trace", trace(100.0 + 0.1 * k), 107.001 + 0.1 * k + 0.001 * (k % 3), 5.0 + 0.1 * k)
    rows = recorder.take()["m/execution_trace"]
    names = [column.name for column in OF_NAME["execution_trace"].all_columns][1:]
    last = dict(zip(names, rows[-1], strict=True))
    assert last["clock_offset_s"] == pytest.approx(7.001, abs=1e-3)
    assert last["stamp_s"] == last["source_s"] == pytest.approx(119.9)
    assert last["received_s"] > last["stamp_s"]
    assert recorder.uncertainty_s() < 0.01
    assert recorder.take() == {}


def test_sentences_are_kept_when_they_change():
    recorder = Recorder(("m",))
    for t, code, text in ((1, 0, ""), (2, 401, "The permit lapsed."), (3, 401, "The permit lapsed."), (4, 0, "")):
        recorder.add("m", "job_state", job(t, code, text), float(t), float(t))
    batch = recorder.take()
    assert len(batch["m/job_state"]) == 4
    said = [row[-1] for row in batch[f"m/{MESSAGES.name}"]]
    assert said == [b"The permit lapsed.", b""]


def test_machines_that_are_not_recorded_are_counted_and_memory_is_bounded():
    recorder = Recorder(("m",), most_rows=10)
    for t in range(25):
        recorder.add("m", "execution_trace", trace(t), float(t), float(t))
        recorder.add("x", "execution_trace", trace(t), float(t), float(t))
    assert (recorder.foreign, recorder.lost) == (25, 15)
    assert sum(map(len, recorder.take().values())) == 10
    recorder.add("m", "execution_trace", trace(30), 30.0, 30.0)
    assert sum(map(len, recorder.take().values())) == 1


def test_nothing_is_known_of_clocks_that_were_never_heard():
    assert math.isnan(Recorder(("m",)).uncertainty_s())


def test_text_is_cut_between_characters():
    assert clipped("ä" * TEXT_BYTES, TEXT_BYTES).decode() == "ä" * (TEXT_BYTES // 2)
    assert clipped("äb", 1) == b""
