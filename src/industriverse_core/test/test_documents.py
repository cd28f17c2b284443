"""YAML documents: quantities with units, and one clear sentence for every mistake."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.documents import Document, Metres, Ratio, load_document, parse_quantity
from industriverse_core.errors import ErrorCode, InputError, ProfileError
from industriverse_core.machine import MACHINE_FOLDER, Costs, load_machine, machine_names
from industriverse_core.material import MATERIAL_FOLDER, Material, load_material, material_names, resolve_material


class Inner(Document):
    width: Metres
    share: Ratio = 0.5


class Outer(Document):
    name: str
    inner: Inner
    others: tuple[Inner, ...] = ()


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "thing.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_document(path, Outer, ErrorCode.BAD_CELL)

    return load_text


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("200 mm/s", "m/s", 0.2),
        ("6000 mm/min", "m/s", 0.1),
        ("1 in", "m", 0.0254),
        ("10 um", "m", 1e-5),
        ("60 rpm", "rad/s", 2 * math.pi),
        ("25 %", "1", 0.25),
        ("-4 mm", "m", -0.004),
        ("1.24 g/cm^3", "kg/m^3", 1240.0),
        ("1.25 kJ/(kg K)", "J/(kg K)", 1250.0),
        ("  2   h ", "s", 7200.0),
        (3, "1", 3.0),
    ],
)
def test_quantities(text, unit, value):
    assert parse_quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("value", ["200", "200 kg", "mm", "", "2,5 mm", 200, 1.5, True, None, ["1 mm"], "5 mm extra"])
def test_what_is_no_length(value):
    with pytest.raises(ValueError, match="mm"):
        parse_quantity(value, "m")


@given(st.floats(-1e6, 1e6))
def test_units_of_one_quantity_agree(number):
    assert parse_quantity(f"{number!r} m", "m") == pytest.approx(parse_quantity(f"{number * 1000!r} mm", "m"))


def test_a_good_document(load):
    document = load("name: a\ninner: {width: 5 mm}\n")
    assert (document.inner.width, document.inner.share) == (0.005, 0.5)
    with pytest.raises(ValueError):
        document.name = "b"


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("name: a\ninner: {width: 5}\n", "inner.width: 5 has no unit", "Mend"),
        ("name: a\ninner: {width: 5 kg}\n", "inner.width: '5 kg' is not a number with one of the units m, mm", "Mend"),
        ("name: a\ninner: {widht: 5 mm}\n", "inner.widht: unknown key (1 more)", "Did you mean 'width'?"),
        ("name: a\ninner: {width: 5 mm}\nzzzzzz: 1\n", "zzzzzz: unknown key", "Remove"),
        ("name: a\n", "inner: is missing", "Add"),
        ("name: [1]\ninner: {width: 5 mm}\n", "name: Input should be a valid string, got [1]", "Mend"),
        (
            "name: a\ninner: {width: 5 mm}\nothers: [{width: 1 mm}, {width: 1}]\n",
            "others.1.width: 1 has no unit",
            "Mend",
        ),
        ("name: a\ninner: {width: .nan}\n", "inner.width", "Mend"),
        ("name: a\ninner: {width: nan mm}\n", "inner.width", "Mend"),
        ("name: a\n  inner: [\n", "line 2: not valid YAML", "Mend"),
        ("- a\n- b\n", "not a document with named fields", "examples"),
        ("# nothing\n", "has no fields", "Write its fields (name, inner)"),
        ("---\n", "has no fields", "start from a copy"),
        ("just text", "not a document with named fields", "examples"),
        ("name: !!python/object:os.system {}\n", "not valid YAML", "Mend"),
        (b"name: \xff\xfe\n", "not a text file (byte 6)", "UTF-8"),
        ("[" * 5000, "not valid YAML", "Mend"),
        ("x: 2024-13-45\n", "not valid YAML", "Mend"),
    ],
)
def test_every_mistake_is_one_sentence_with_its_place(load, text, message, remedy):
    with pytest.raises(ProfileError) as caught:
        load(text)
    assert caught.value.code is ErrorCode.BAD_CELL
    assert "thing.yaml" in caught.value.message
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


# --- the documents that ship ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", machine_names())
def test_shipped_machines(name):
    profile = load_machine(name)
    assert profile.id == name
    assert profile.sources
    for axis in profile.kinematics.axes():
        assert axis.minimum <= axis.home <= axis.maximum
        assert 0 < axis.max_speed < 2
    assert (profile.extruder is not None) == (profile.kind == "printer")


def test_both_kinds_of_machines_ship():
    assert {load_machine(name).kind for name in machine_names()} == {"printer", "mill"}
    printer = load_machine("prusa_mk3s")
    assert printer.kinematics.x.max_speed == 0.2
    assert printer.hotend.max_temperature == 300.0


@pytest.mark.parametrize("name", material_names())
def test_shipped_materials(name):
    material = load_material(name.lower())
    assert material.id == name
    assert material.density > 900
    assert len(material.sources) >= 5
    if material.kind == "polymer":
        assert material.nozzle_min < material.nozzle_max


@pytest.mark.parametrize(
    ("named", "kind", "expected"),
    [
        ("", "printer", "PLA"),
        ("", "mill", "Al6061"),
        (" ; ,", "printer", "PLA"),
        ("petg", "printer", "PETG"),
        ("PLA;PLA", "printer", "PLA"),
        ("ABS, abs;", "mill", "ABS"),
    ],
)
def test_the_material_that_is_meant(named, kind, expected):
    assert resolve_material(named, kind).id == expected


@pytest.mark.parametrize(("named", "words"), [("PLA;PETG", "several materials"), ("FLEX;FLEX", "unknown material")])
def test_a_material_that_cannot_be_meant(named, words):
    with pytest.raises(ProfileError, match=words) as caught:
        resolve_material(named, "printer")
    assert caught.value.code is ErrorCode.UNKNOWN_MATERIAL
    assert caught.value.remedy


def test_enthalpy_of_a_print_is_solid_then_melt():
    pla = load_material("PLA")
    assert pla.print_enthalpy_j_per_kg(215, 25) == pytest.approx(1250 * 35 + 2000 * 155)
    assert pla.print_enthalpy_j_per_kg(50, 25) == pytest.approx(1250 * 25)
    with pytest.raises(ValueError, match="not printed"):
        load_material("Al6061").print_enthalpy_j_per_kg(215, 25)


@pytest.mark.parametrize(
    ("load_one", "name", "code"),
    [
        (load_machine, "prusa_mk3", ErrorCode.UNKNOWN_MACHINE),
        (load_machine, "", ErrorCode.UNKNOWN_MACHINE),
        (load_machine, "no/such.yaml", ErrorCode.FILE_NOT_FOUND),
        (load_material, "PLB", ErrorCode.UNKNOWN_MATERIAL),
    ],
)
def test_unknown_names(load_one, name, code):
    from industriverse_core.errors import CoreError

    with pytest.raises(CoreError) as caught:
        load_one(name)
    assert caught.value.code is code
    assert caught.value.remedy


def test_a_near_miss_gets_a_suggestion():
    with pytest.raises(ProfileError) as caught:
        load_machine("prusa_mk3")
    assert "Did you mean 'prusa_mk3s'?" in caught.value.remedy
    assert "grbl_mill" in caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minimum: 0 mm, maximum: 255 mm", "minimum: 300 mm, maximum: 255 mm", "minimum must be below maximum"),
        ("kind: printer", "kind: mill", "a mill needs the section 'spindle'"),
        ("print_acceleration: 1250 mm/s^2", "print_acceleration: -5 mm/s^2", "kinematics.print_acceleration"),
        ("id: prusa_mk3s", "id: Prusa MK3S", "id: "),
        ("planner: classic_jerk", "planner: magic", "kinematics.planner"),
        ("  power: 38 W", "  power: 38 mm", "hotend.power: '38 mm'"),
    ],
)
def test_wrong_profiles(tmp_path, old, new, message):
    text = (MACHINE_FOLDER / "prusa_mk3s.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        load_machine(str(path))
    assert caught.value.code is ErrorCode.BAD_PROFILE
    assert message in caught.value.message


def test_some_runs_must_end():
    failure = {"name": "clog", "probability": 0.5}
    assert Costs(machine_per_hour=1, failures=[failure]).failure_probability == 0.5
    with pytest.raises(ValueError, match="less than 1"):
        Costs(machine_per_hour=1, failures=[failure, failure])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fusion_enthalpy": "9 kJ/kg", "melting": None}, "needs melting"),
        ({"recovery_exergy": "41 MJ/kg"}, "recovery_exergy"),
        ({"recovery_price_per_kg": 26}, "recovery_price_per_kg"),
    ],
)
def test_materials_that_cannot_be(change, sentence):
    document = yaml.safe_load((MATERIAL_FOLDER / "PLA.yaml").read_text())
    assert Material(**document).cumulative_exergy_j_per_kg == 40e6
    with pytest.raises(ValueError, match=sentence):
        Material(**{**document, **change})


def test_making_a_material_takes_at_least_its_chemical_exergy():
    document = yaml.safe_load((MATERIAL_FOLDER / "PLA.yaml").read_text())
    del document["cumulative_exergy"]
    assert Material(**document).cumulative_exergy_j_per_kg == 19.5e6


def test_an_empty_file_is_told_what_to_write(tmp_path):
    path = tmp_path / "machine.yaml"
    path.touch()
    with pytest.raises(InputError) as caught:
        load_machine(str(path))
    assert caught.value.code is ErrorCode.FILE_EMPTY
    assert "kinematics" in caught.value.remedy
    assert "Export" not in caught.value.remedy


def test_a_stored_position_is_checked_like_the_rest(tmp_path):
    text = (MACHINE_FOLDER / "grbl_mill.yaml").read_text()
    path = tmp_path / "mill.yaml"
    for wrong, said in (
        ("G60: {x: 1 mm}", "stored_positions.G60"),
        ("G28: {x: 1}", "no unit"),
        ("G28: {w: 1 mm}", "w"),
    ):
        path.write_text(text.replace("stored_positions:\n", f"stored_positions:\n  {wrong}\n", 1))
        with pytest.raises(ProfileError, match=said):
            load_machine(str(path))
