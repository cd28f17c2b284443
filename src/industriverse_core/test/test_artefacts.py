"""Artefacts, telemetry, units, errors: the small frozen things that flow between the rooms."""

import dataclasses
import math

import pytest

from industriverse_core import errors
from industriverse_core.artefacts import Estimate, LedgerEntry, Prediction, Quote, Severity, Subsystem, Verdict
from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import CoreError, ErrorCode, InputError
from industriverse_core.program import Heater
from industriverse_core.telemetry import HeaterReading, MachineState, Quantity, ResidualChannel, TelemetrySample
from industriverse_core.units import duration_text, energy_text, filament_area_m2, kelvin

ONE = Estimate.exact(1.0)
SUBSYSTEMS = {Subsystem.BED: ONE, Subsystem.MOTION: ONE}
PREDICTION = Prediction(NO_DIGEST, "m", "PLA", Estimate(90, 80, 100), ONE, ONE, SUBSYSTEMS, ONE, ONE, ONE, ONE)


def ledger(**changes) -> LedgerEntry:
    entry = LedgerEntry("j", "m", NO_DIGEST, 60.0, 1000.0, 1.0, 900.0, 89.0, {Subsystem.BED: 1000.0}, 0.01, 2.5, "EUR")
    return dataclasses.replace(entry, **changes)


def test_an_estimate_is_in_order():
    assert Estimate.exact(3.0) == Estimate(3.0, 3.0, 3.0)
    for values in ((1, 2, 3), (3, 1, 2), (math.nan, 1, 2), (1, math.nan, 2)):
        with pytest.raises(ValueError, match="out of order"):
            Estimate(*values)


def test_every_artefact_has_the_digest_of_its_content():
    quote = Quote(NO_DIGEST, "EUR", 1, 1, 1, 1, 1, 1, ONE, 1, 1, 1, 0.1)
    for artefact, field, value in (
        (PREDICTION, "material", "PETG"),
        (PREDICTION, "energy_by_subsystem_j", {Subsystem.BED: ONE}),
        (quote, "currency", "USD"),
        (ledger(), "price", 2.6),
    ):
        assert artefact.digest == dataclasses.replace(artefact).digest
        assert artefact.digest != dataclasses.replace(artefact, **{field: value}).digest
    other_order = dict(reversed(PREDICTION.energy_by_subsystem_j.items()))
    assert dataclasses.replace(PREDICTION, energy_by_subsystem_j=other_order).digest == PREDICTION.digest


def test_the_ledger_states_its_residual():
    assert ledger().residual_j == pytest.approx(10.0)
    assert ledger().residual_fraction == pytest.approx(0.01)
    assert math.isnan(ledger(electric_j=0.0).residual_fraction)
    assert math.isnan(ledger(electric_j=math.nan).residual_fraction)


def test_artefacts_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PREDICTION.material = "x"


def test_a_reading_is_found_by_its_heater():
    bed = HeaterReading(Heater.BED, 60.0, 60.0)
    sample = TelemetrySample(1.0, "m", 1, 2, MachineState.IDLE, heaters=(bed,))
    assert sample.reading(Heater.BED) is bed
    assert sample.reading(Heater.HOTEND) is None
    assert all(math.isnan(axis) for axis in sample.position_m)


def test_residuals_in_standard_deviations():
    assert ResidualChannel(Quantity.POWER, 100.0, 90.0, 5.0).z_score == -2.0
    assert math.isnan(ResidualChannel(Quantity.POWER, 100.0, 90.0, 0.0).z_score)
    assert math.isnan(ResidualChannel(Quantity.POWER, 100.0, math.nan, 5.0).z_score)


def test_units():
    assert kelvin(0.0) == 273.15
    assert filament_area_m2(1.75e-3) == pytest.approx(2.405282e-6, rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.4, "9.4 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (425, "7 min 05 s"), (12000, "3 h 20 min"),
     (3599.6, "1 h 00 min"), (math.nan, "unknown"), (math.inf, "unknown")],
)  # fmt: skip
def test_durations_as_people_read_them(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(812, "812 J"), (54300, "54.3 kJ"), (1.62e6, "1.62 MJ (0.45 kWh)"), (-5e3, "-5.0 kJ"), (math.nan, "unknown")],
)
def test_energies_as_people_read_them(joules, text):
    assert energy_text(joules) == text


def test_an_error_is_a_sentence_and_a_remedy():
    error = InputError(ErrorCode.FILE_EMPTY, "x: empty.", "Export it again.")
    assert str(error) == "x: empty. Export it again."
    assert str(InputError(ErrorCode.FILE_EMPTY, "x: empty.")) == "x: empty."
    assert (error.code, error.message, error.remedy) == (ErrorCode.FILE_EMPTY, "x: empty.", "Export it again.")


def test_the_tree_of_errors_is_drawn_completely():
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoreError)}
    assert len(kinds) == 8
    for kind in kinds:
        assert kind.__name__ in errors.__doc__
        assert kind is CoreError or kind.__bases__ == (CoreError,)


def test_codes_are_unique_and_in_blocks():
    assert len(ErrorCode.__members__) == len(set(ErrorCode))
    assert all(code == ErrorCode.OK or 100 <= code < 800 for code in ErrorCode)


def test_numbers_of_severities_and_verdicts_order_them():
    assert Severity.INFO < Severity.WARNING < Severity.ERROR
    assert Verdict.ACCEPT < Verdict.WARN < Verdict.REFUSE
