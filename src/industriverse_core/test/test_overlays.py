"""Overlays of machine profiles: what they change, and every way in which one can be wrong."""

import pytest

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine

CALIBRATION = """
calibration:
  date: '2026-11-20'
  source: sha256:{digest}
  program: {digest}
  meter_accuracy: 0.5 %
  intervals: {{hotend.power: [37.0, 37.6]}}
""".format(digest="ab" * 32)


@pytest.fixture
def load(tmp_path):
    def load_text(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        load_machine.cache_clear()
        return load_machine(str(path))

    return load_text


def test_an_overlay_changes_what_it_says_and_nothing_else(load):
    base = load_machine("prusa_mk3s")
    mine = load("extends: prusa_mk3s\nhotend: {power: 37.3 W}\n" + CALIBRATION)
    assert mine.id == base.id
    assert mine.hotend == base.hotend.model_copy(update={"power": 37.3})
    assert mine.calibration.meter_accuracy == 0.005
    unchanged = {"hotend", "calibration"}
    assert mine.model_dump(exclude=unchanged) == base.model_dump(exclude=unchanged)


def test_an_overlay_may_extend_another_beside_it(load):
    load("extends: ender3\nbed: {power: 200 W}\n", "below.yaml")
    mine = load("extends: below.yaml\nbed: {loss: 1.3 W/K}\ncosts: {machine_per_hour: 2}\n")
    assert (mine.bed.power, mine.bed.loss, mine.costs.machine_per_hour) == (200.0, 1.3, 2.0)
    assert mine.costs.labour_per_job == load_machine("ender3").costs.labour_per_job


def test_a_list_is_replaced_as_a_whole(load):
    mine = load("extends: prusa_mk3s\ncosts: {failures: [{name: x, probability: 0.1}]}\n")
    assert [failure.name for failure in mine.costs.failures] == ["x"]


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("extends: prusa_mk4\n", ErrorCode.UNKNOWN_MACHINE, "unknown machine 'prusa_mk4'. Did you mean 'prusa_mk3s'?"),
        ("extends: other.yaml\n", ErrorCode.FILE_NOT_FOUND, "other.yaml: no such file"),
        ("extends: mine.yaml\n", ErrorCode.BAD_PROFILE, "more than 4 overlays over one another, or one that extends"),
        ("extends: [prusa_mk3s]\n", ErrorCode.BAD_PROFILE, "extends: needs the name of a machine. Known: ender3"),
        ("extends: ''\n", ErrorCode.BAD_PROFILE, "extends: needs the name of a machine"),
        ("extends: prusa_mk3s\nhotend: {powr: 1 W}\n", ErrorCode.BAD_PROFILE, "mine.yaml: hotend.powr: unknown key"),
        ("extends: prusa_mk3s\nhotend: {power: 1 J}\n", ErrorCode.BAD_PROFILE, "hotend.power: '1 J' is not a number"),
        ("extends: prusa_mk3s\nhotend: {power: -1 W}\n", ErrorCode.BAD_PROFILE, "hotend.power: Input should"),
        ("extends: prusa_mk3s\nhotend: 5\n", ErrorCode.BAD_PROFILE, "mine.yaml: hotend"),
        ("extends: prusa_mk3s\nkind: mill\n", ErrorCode.BAD_PROFILE, "a mill needs the section 'spindle'"),
        (
            "extends: prusa_mk3s\nhotend: {power: 39 W}\n" + CALIBRATION, ErrorCode.BAD_PROFILE,
            "hotend.power is 39, its calibration found 37 to 37.6",
        ),
        (
            "extends: prusa_mk3s\n" + CALIBRATION.replace("hotend.power", "hotend.wattage"), ErrorCode.BAD_PROFILE,
            "the calibration has an interval of 'hotend.wattage', which is no field of this machine",
        ),
        (
            "extends: prusa_mk3s\nhotend: {power: 37.3 W}\n" + CALIBRATION.replace("2026-11-20", "yesterday"),
            ErrorCode.BAD_PROFILE, "calibration.date",
        ),
    ],
)  # fmt: skip
def test_a_wrong_overlay_is_one_sentence(load, text, code, sentence):
    with pytest.raises(CoreError) as refused:
        load(text)
    assert refused.value.code is code
    assert sentence in str(refused.value)


def test_a_mistake_below_is_named_where_it_is(load):
    with pytest.raises(CoreError, match=r"below.yaml: bed.power"):
        load("extends: ender3\nbed: {power: 200 K}\n", "below.yaml") and None
    with pytest.raises(CoreError, match=r"below.yaml: bed.power"):
        load("extends: below.yaml\nbed: {loss: 1.3 W/K}\n")
