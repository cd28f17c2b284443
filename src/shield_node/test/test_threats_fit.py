"""The fit of the fusion: it finds what a table says, keeps what none shows, and judges probabilities honestly."""

import numpy as np
import pytest

from industriverse_core.errors import InputError
from industriverse_core.threats import Cause
from shield_node.threats import fit as fitting
from shield_node.threats.fusion import CAUSES, REFERENCE, FusionModel, read_model
from shield_node.threats.scores import KINDS, Score


def write_table(path, seed, rows=4000):
    """A world with two faults, each with a noisy score of its own that is there nine times in ten."""
    random = np.random.default_rng(seed)
    cause = random.choice([Cause.NONE, Cause.VIBRATION, Cause.POWER_ANOMALY], rows, p=[0.8, 0.1, 0.1])
    scores = np.zeros((rows, len(KINDS)))
    scores[:, [Score.VIBRATION, Score.VOLTAGE]] = random.uniform(0.0, 0.3, (rows, 2))
    for kind, score in ((Cause.VIBRATION, Score.VIBRATION), (Cause.POWER_ANOMALY, Score.VOLTAGE)):
        shows = (cause == kind) & (random.random(rows) < 0.9)
        scores[shows, score] += 1.0
    seeds = seed * 1000 + random.integers(0, 40, rows)
    np.savez(path, scores=scores, cause=cause.astype(int), seed=seeds, seconds=np.ones(rows))
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [fitting.load_tables([write_table(folder / f"{seed}.npz", seed)]) for seed in (1, 2)]


@pytest.fixture(scope="module")
def model(tables):
    return fitting.fit(tables[0], {"data": "a test"})


def test_each_fault_gets_the_weight_of_its_own_score(model):
    for cause, score in ((Cause.VIBRATION, Score.VIBRATION), (Cause.POWER_ANOMALY, Score.VOLTAGE)):
        assert model.weights[CAUSES.index(cause)].argmax() == score
    assert (model.weights >= 0.0).all()
    assert not model.weights[REFERENCE].any()


def test_what_no_table_shows_keeps_its_declared_weight(model):
    late = model.weights[CAUSES.index(Cause.NETWORK_FAULT), Score.TELEMETRY_LATE]
    assert late == 12.0
    assert "NETWORK_FAULT by TELEMETRY_LATE" in model.provenance["declared"]
    assert read_model(model.to_json()).provenance["data"] == "a test"


def test_probabilities_agree_with_other_machines(model, tables):
    judgement = fitting.judge(model, tables[1])
    assert judgement.brier < 0.5 * judgement.constant_brier
    assert judgement.calibration_error < 0.2
    assert sum(share for *_, share in judgement.reliability) == pytest.approx(1.0)


def test_a_model_that_is_too_sure_is_found_out(model, tables):
    sure = FusionModel(model.bias / 4.0, model.weights, {})
    assert fitting.judge(sure, tables[1]).calibration_error > 5.0


def test_a_machine_in_fit_and_test_is_refused(tables):
    fitting.check_apart(*tables)
    with pytest.raises(InputError):
        fitting.check_apart(tables[0], tables[0])


@pytest.mark.parametrize("spoil", [
    lambda t: t.pop("seed"), lambda t: t.update(scores=t["scores"][:, 1:]), lambda t: t.update(cause=t["cause"] + 90),
    lambda t: t.update(seconds=t["seconds"][1:]),
])  # fmt: skip
def test_a_file_that_is_no_table_is_refused(tmp_path, spoil):
    path = write_table(tmp_path / "t.npz", 3, 50)
    table = dict(np.load(path))
    spoil(table)
    np.savez(path, **table)
    with pytest.raises(InputError):
        fitting.load_tables([path])


def test_missing_and_broken_files_are_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for path in (tmp_path / "none.npz", tmp_path / "x.npz"):
        with pytest.raises(InputError):
            fitting.load_tables([path])
