"""States of a machine: the same numbers from steps, from a record, and live."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.machine import load_machine
from industriverse_core.program import Heater
from industriverse_core.telemetry import HeaterReading, MachineState, TelemetrySample
from shield_node.envelope import learn_envelope
from shield_node.envelope_watch import EnvelopeWatch
from shield_node.machine_states import WINDOW_S, LiveStates, channels_of, recorded_states, windowed

PRINTER = channels_of(load_machine("prusa_mk3s"))
PERIOD_S = 0.1


def samples(seconds, job_id="J1", begin_s=1000.0, state=MachineState.EXECUTING):
    """A printer whose hot end rises by 1 K/s and whose power falls by 1 W/s."""
    made = []
    for step in range(round(seconds / PERIOD_S) + 1):
        now = step * PERIOD_S
        heaters = (
            HeaterReading(Heater.HOTEND, 100.0 + now, 215.0),
            HeaterReading(Heater.BED, 60.0, 0.0),
        )
        made.append(
            TelemetrySample(
                stamp_s=begin_s + now, machine_id="m", incarnation=1, challenge=1, state=state, job_id=job_id,
                heaters=heaters, fan=0.5, power_w=200.0 - now,
            )
        )  # fmt: skip
    return made


def rows(given_samples):
    kind = [("stamp_s", "f8"), ("state", "u1"), ("job_id", "S40"), ("power_w", "f8"), ("fan", "f8")]
    kind += [(f"{heater}_{what}", "f4") for heater in ("hotend", "bed") for what in ("c", "target_c")]
    return np.array(
        [
            (s.stamp_s, int(s.state), s.job_id.encode(), s.power_w, s.fan,
             s.heaters[0].temperature_c, s.heaters[0].target_c, s.heaters[1].temperature_c, s.heaters[1].target_c)
            for s in given_samples
        ],
        dtype=kind,
    )  # fmt: skip


def test_a_mill_has_no_heaters_and_a_printer_has_its_limits():
    assert [channel.name for channel in channels_of(load_machine("grbl_mill"))] == ["power"]
    named = {channel.name: channel for channel in PRINTER}
    assert list(named) == ["power", "hotend", "hotend_below_target", "bed", "bed_below_target", "fan"]
    assert named["hotend"].high == load_machine("prusa_mk3s").hotend.max_temperature


def test_live_and_recorded_states_are_the_means_of_the_windows():
    live = LiveStates(PRINTER)
    seen = [state for sample in samples(25.0) if (state := live.observe(sample)) is not None]
    recorded = recorded_states(rows(samples(25.0)), PRINTER)
    assert len(seen) == len(recorded) == 2
    np.testing.assert_allclose(seen, recorded, atol=1e-3)
    # the middle of the first window, to half a sample
    expected = [200.0 - 5.0, 105.0, 110.0, 60.0, 0.0, 0.5]
    np.testing.assert_allclose(seen[0], expected, atol=PERIOD_S)


def test_what_is_no_job_has_a_gap_or_another_job_is_no_window():
    idle = samples(30.0, state=MachineState.IDLE)
    gap = [*samples(8.0), *samples(8.0, begin_s=1020.0)]
    jobs = [*samples(8.0), *samples(8.0, job_id="J2", begin_s=1008.1)]
    for given_samples in (idle, gap, jobs):
        live = LiveStates(PRINTER)
        assert all(live.observe(sample) is None for sample in given_samples)
        assert len(recorded_states(rows(given_samples), PRINTER)) == 0


def test_a_record_without_the_columns_is_refused():
    with pytest.raises(InputError, match="power_w") as caught:
        recorded_states(np.zeros(3, dtype=[("stamp_s", "f8"), ("state", "u1"), ("job_id", "S4")]), PRINTER)
    assert caught.value.code is ErrorCode.RECORD_BROKEN


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 40.0), st.floats(-100.0, 100.0)), min_size=1, max_size=30))
def test_windows_keep_the_integral(steps):
    length, values = np.array([s for s, _ in steps]), np.array([v for _, v in steps])
    states = windowed(np.cumsum(length), values[:, None])
    covered_s = len(states.values) * WINDOW_S
    within = np.clip(covered_s - (np.cumsum(length) - length), 0.0, length)
    assert states.values.sum() * WINDOW_S == pytest.approx(float((within * values).sum()), abs=1e-6)


def test_a_window_with_something_unmeasured_is_not_a_number():
    states = windowed(np.array([5.0, 10.0, 20.0]), np.array([[1.0], [math.nan], [3.0]]))
    assert math.isnan(states.values[0, 0])
    assert states.values[1, 0] == pytest.approx(3.0)


def printing(source, windows):
    """Means of windows of a printer that prints."""
    below = source.normal(0.0, 0.2, windows)
    columns = (source.normal(80.0, 3.0, windows), 215.0 - below, below, 60.0 - below, below, np.full(windows, 0.5))
    return np.column_stack(columns)


def executing(stamp_s, power_w, state=MachineState.EXECUTING):
    heaters = (HeaterReading(Heater.HOTEND, 215.0, 215.0), HeaterReading(Heater.BED, 60.0, 60.0))
    return TelemetrySample(
        stamp_s=stamp_s, machine_id="m", incarnation=1, challenge=1, state=state, job_id="J1", heaters=heaters,
        fan=0.5, power_w=power_w,
    )  # fmt: skip


def test_live_a_state_outside_is_said_until_a_window_is_good_again_or_the_job_ends():
    envelope = learn_envelope(printing(np.random.default_rng(1), 600), PRINTER)
    watch = EnvelopeWatch(envelope, load_machine("prusa_mk3s"))
    seen = [watch.observe(executing(0.1 * step, 80.0)) for step in range(150)]
    assert seen == [""] * 150
    seen = [watch.observe(executing(15.0 + 0.1 * step, 140.0)) for step in range(200)]
    assert seen[-1].startswith("power is 140 W; good runs were between")
    again = [watch.observe(executing(35.0 + 0.1 * step, 80.0)) for step in range(250)]
    assert again[0]
    assert again[-1] == ""
    for step in range(250):
        watch.observe(executing(60.0 + 0.1 * step, 140.0))
    assert watch.message
    assert watch.observe(executing(85.0, 17.0, MachineState.IDLE)) == ""


def test_another_machines_map_is_refused():
    envelope = learn_envelope(printing(np.random.default_rng(1), 600), PRINTER)
    with pytest.raises(InputError, match="Learn a map for this machine"):
        EnvelopeWatch(envelope, load_machine("grbl_mill"))
