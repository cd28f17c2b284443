"""The energy map: what it accepts, why it refuses, what it promises, and its file."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from industriverse_core.errors import InputError
from shield_node.envelope import Channel, Envelope, Reason, learn_envelope
from shield_node.envelope_file import load_envelope, save_envelope
from shield_node.envelope_kernels import Mixture, energies

CHANNELS = (Channel("hotend", "degC", high=290.0), Channel("power", "W", low=0.0), Channel("speed", "m/s"))


def good_states(count, seed):
    """Two ways of working, idle and printing; power follows speed."""
    random = np.random.default_rng(seed)
    printing = random.random(count) < 0.6
    speed = np.where(printing, random.normal(0.08, 0.005, count), random.normal(0.0, 0.001, count))
    hotend = np.where(printing, 215.0, 180.0) + random.normal(0, 1.0, count)
    power = 20.0 + 600.0 * speed + 0.2 * (hotend - 180.0) + random.normal(0, 1.0, count)
    return np.column_stack([hotend, power, speed])


ENVELOPE = learn_envelope(good_states(4000, 1), CHANNELS, provenance="made")


def test_of_new_good_states_at_most_the_stated_share_is_refused():
    refused = 1.0 - ENVELOPE.accepts(good_states(20_000, 2)).mean()
    assert 0.002 < refused < 0.02


@pytest.mark.parametrize(
    ("state", "reason", "channel"),
    [
        ((215.0, 75.0, 0.08), Reason.ACCEPTED, ""),
        ((295.0, 75.0, 0.08), Reason.HARD_LIMIT, "hotend"),
        ((215.0, -1.0, 0.08), Reason.HARD_LIMIT, "power"),
        ((215.0, 75.0, 0.3), Reason.OUTSIDE_SUPPORT, "speed"),
        ((215.0, math.nan, 0.08), Reason.NOT_A_NUMBER, "power"),
        ((197.0, 50.0, 0.04), Reason.ENERGY, None),
        ((215.0, 60.0, 0.08), Reason.ENERGY, "power"),
    ],
)
def test_each_reason_names_its_channel(state, reason, channel):
    judgement = ENVELOPE.judge(state)
    assert judgement.reason is reason
    if channel is not None:
        assert judgement.channel == channel
    assert judgement.message.startswith(judgement.channel)
    assert ENVELOPE.accepts(np.array([state]))[0] == (reason is Reason.ACCEPTED)


def test_a_fault_that_is_frequent_in_the_log_is_refused_once_it_is_labelled():
    random = np.random.default_rng(3)
    fault = np.column_stack([random.normal(215, 1, 300), random.normal(40, 1, 300), random.normal(0.08, 0.005, 300)])
    log = random.permutation(np.vstack([good_states(3000, 4), fault]))
    assert learn_envelope(log, CHANNELS).accepts(fault).mean() > 0.9
    assert learn_envelope(log, CHANNELS, bad=fault).accepts(fault).mean() < 0.05
    assert learn_envelope(log, CHANNELS, bad=fault).accepts(good_states(1000, 5)).mean() > 0.95


def test_energies_are_those_of_the_textbook():
    random = np.random.default_rng(6)
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    points = random.normal(size=(50, 2))
    mixture = Mixture.of([0.3, 0.7], [np.zeros(2), np.ones(2)], [covariance, np.eye(2)])
    first = multivariate_normal(np.zeros(2), covariance).pdf(points)
    second = multivariate_normal(np.ones(2), np.eye(2)).pdf(points)
    np.testing.assert_allclose(energies(mixture, points), -np.log(0.3 * first + 0.7 * second), rtol=1e-10)


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.floats(), st.floats(), st.floats()))
def test_any_state_gets_a_judgement_and_one_agrees_with_many(state):
    judgement = ENVELOPE.judge(state)
    assert bool(ENVELOPE.accepts(np.array([state]))[0]) == (judgement.reason is Reason.ACCEPTED)


@pytest.mark.parametrize("states", [np.zeros((99, 3)), np.full((200, 3), np.inf), np.zeros((200, 2)), np.zeros(200)])
def test_what_cannot_be_learned_from_is_refused(states):
    with pytest.raises(InputError):
        learn_envelope(states, CHANNELS)


def test_a_channel_that_never_moved_must_stay():
    states = good_states(500, 7)
    states[:, 2] = 0.05
    envelope = learn_envelope(states, CHANNELS)
    assert envelope.accepts(states).mean() > 0.95
    states[:, 2] = 0.06
    assert not envelope.accepts(states).any()


def test_the_file_keeps_everything(tmp_path):
    path = tmp_path / "machine.npz"
    envelope = learn_envelope(good_states(500, 1), CHANNELS, bad=good_states(60, 9) + 30.0, provenance="runs 1 to 3")
    save_envelope(envelope, path)
    loaded = load_envelope(path)
    assert isinstance(loaded, Envelope)
    assert loaded.channels == CHANNELS
    assert loaded.provenance == "runs 1 to 3"
    states = good_states(200, 8)
    np.testing.assert_array_equal(loaded.energy(states), envelope.energy(states))
    np.testing.assert_array_equal(loaded.accepts(states), envelope.accepts(states))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_reads_the_same(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("envelope") / "machine.npz"
    save_envelope(ENVELOPE, path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] if data.draw(st.booleans()) else whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    path.write_bytes(damaged)
    try:
        loaded = load_envelope(path)
    except InputError:
        return
    np.testing.assert_array_equal(loaded.good.centres, ENVELOPE.good.centres)
