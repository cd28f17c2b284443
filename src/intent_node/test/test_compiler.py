from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError
from intent_node.compiler import Catalogue, Entry, understand

FOLDER = Path("/cell/programs")
MATERIALS = ("ABS", "Al6061", "PETG", "PLA")


def catalogue(*names):
    return Catalogue(FOLDER, tuple(Entry(FOLDER / name) for name in names), MATERIALS)


PARTS = catalogue(
    "bracket_mill.ngc",
    "cable_clip_petg.gcode",
    "cable_clip_pla.gcode",
    "hook.gcode",
    "pen-holder.gcode",
    "washer_petg.gcode",
)
SLICED = {"cable_clip_petg": "PETG", "cable_clip_pla": "PLA", "hook": "PLA", "washer_petg": "petg"}


def material_of(path):
    return SLICED.get(path.stem, "")


def read(text, parts=PARTS, asked="", of=material_of):
    found = understand(text, parts, of, asked)
    return found.path.name, found.quantity, found.material


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make three cable clips in PETG", ("cable_clip_petg.gcode", 3, "PETG")),
        ("print 2 of cable_clip in pla", ("cable_clip_pla.gcode", 2, "PLA")),
        ("Print 2x Cable-Clip in pla.", ("cable_clip_pla.gcode", 2, "PLA")),
        ("cable clip petg", ("cable_clip_petg.gcode", 1, "PETG")),
        ("PETG cable clip", ("cable_clip_petg.gcode", 1, "PETG")),
        ("cableclip in PLA filament, please", ("cable_clip_pla.gcode", 1, "PLA")),
        ("a hook", ("hook.gcode", 1, "PLA")),
        ("hook", ("hook.gcode", 1, "PLA")),
        ("hook.gcode", ("hook.gcode", 1, "PLA")),
        ("could you print me 3 copies of hook.gcode in PLA?", ("hook.gcode", 3, "PLA")),
        ("twelve pen holders", ("pen-holder.gcode", 12, "")),
        ("pen holder in ABS", ("pen-holder.gcode", 1, "ABS")),
        ("washer", ("washer_petg.gcode", 1, "PETG")),
        ("mill a bracket mill", ("bracket_mill.ngc", 1, "")),
        ("100 hooks", ("hook.gcode", 100, "PLA")),
        ("cable_clip_pla", ("cable_clip_pla.gcode", 1, "PLA")),
        ("three copies of a hook", ("hook.gcode", 3, "PLA")),
        ("2 x hook made of PLA", ("hook.gcode", 2, "PLA")),
        ("'pen holder'", ("pen-holder.gcode", 1, "")),
    ],
)
def test_sentences(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("build me a rocket", "no known program"),
        ("washer in unobtainium", "no material 'unobtainium'"),
        ("hook without supports", "'without', 'supports'"),
        ("hook faster", "'faster'"),
        ("do not print hook", "'do', 'not'"),
        ("print hook and washer", "'and'"),
        ("hook in", "'in'"),
        ("cable clip", "Say the material"),
        ("cable clip in ABS", "exists in PETG, PLA"),
        ("hook in PETG", "does not exist in PETG"),
        ("hook in PETG and PLA", "'and'"),
        ("hook in PETG PLA", "at once"),
        ("hooks", "how many"),
        ("0 hooks", "0 copies"),
        ("zero hooks", "0 copies"),
        ("101 hooks", "101 copies"),
        ("9" * 200 + " hooks", "copies"),
        ("2 3 hooks", "more than one number"),
        ("2.5 hooks", "'2', '5'"),
        ("-3 hooks", "'-3' is not understood"),
        ("1/2 hook", "neither a sentence nor a path"),
        ("some hooks", "'some'"),
        ("thirteen hooks", "'thirteen'"),
        ("twenty-one hooks", "'twenty', 'one'"),
        ("hook " * 80, "characters"),
        ("hook\x00", "control character"),
        ("hook\n3", "control character"),
        ("hook\u202e", "control character"),
        ("../hook.gcode", "neither"),
        ("~/hook.gcode", None),
        ("hook $(rm -rf)", "is not understood"),
        ("hook.ngc", "this ending"),
        ("3", "no known program"),
        ("make", "no known program"),
    ],
)
def test_refusals_say_why_and_what_can_be_said(text, says):
    if says is None:
        assert read(text)[0] == "hook.gcode"  # a path below the folder that does not exist is said when it is read
        return
    with pytest.raises(InputError) as error:
        read(text)
    assert error.value.code is ErrorCode.INTENT_NOT_UNDERSTOOD
    assert says in error.value.message, error.value.message
    assert "Known programs:" in error.value.remedy
    assert "path of a program file" in error.value.remedy


def test_nearest_program_is_named_first():
    with pytest.raises(InputError) as error:
        read("pen holdr")
    assert "Known programs: pen-holder," in error.value.remedy
    assert "make 2 pen-holder" in error.value.remedy


def test_long_lists_are_cut():
    with pytest.raises(InputError) as error:
        read("rocket", catalogue(*(f"part_{n}.gcode" for n in range(30))))
    assert "and 22 more" in error.value.remedy
    with pytest.raises(InputError, match="is empty"):
        read("rocket", catalogue())


def test_paths():
    assert read("/some where/x.gcode") == ("x.gcode", 1, "")
    assert understand("sub/x.gcode", PARTS, material_of).path == FOLDER / "sub/x.gcode"
    assert read("/a/hook.gcode", asked="pla") == ("hook.gcode", 1, "PLA")
    assert read("/a/other.gcode", asked="pla") == ("other.gcode", 1, "PLA")
    with pytest.raises(InputError, match=r"sliced in PLA; PETG was asked"):
        read("/a/hook.gcode", asked="PETG")
    with pytest.raises(InputError, match="neither"):
        read("sub/../../x.gcode")


def test_material_beside_the_sentence():
    assert read("cable clip", asked="petg") == ("cable_clip_petg.gcode", 1, "PETG")
    with pytest.raises(InputError, match="at once"):
        read("cable clip in PLA", asked="PETG")
    with pytest.raises(InputError, match="no material 'nylon'"):
        read("hook", asked="nylon")


def test_what_can_be_read_in_two_ways_is_refused():
    with pytest.raises(InputError, match="can mean 1 of 'clip2' or 2 of 'clip'"):
        read("print clip 2", catalogue("clip.gcode", "clip_2.gcode"))
    assert read("print clip 2", catalogue("clip_2.gcode")) == ("clip_2.gcode", 1, "")
    with pytest.raises(InputError, match="whole file name"):
        read("clip", catalogue("clip.gcode", "clip.arrow"))
    assert read("clip.arrow", catalogue("clip.gcode", "clip.arrow")) == ("clip.arrow", 1, "")
    assert read("2 clip.arrow", catalogue("clip.gcode", "clip.arrow")) == ("clip.arrow", 2, "")


def test_the_name_in_full_is_enough():
    assert read("clip", catalogue("clip.gcode", "clip_pla.gcode")) == ("clip.gcode", 1, "")
    assert read("gear", catalogue("gears.gcode")) == ("gears.gcode", 1, "")


def test_a_file_that_contradicts_its_name_is_refused():
    with pytest.raises(InputError, match="says PETG in its name and PLA inside"):
        read("clip in PETG", catalogue("clip_petg.gcode"), of=lambda path: "PLA")


_SOUP = "make three 3 of cable clips clip_petg hook in PETG pla without not a 7 washer-petg, x . /"
WORD_SOUP = st.lists(st.sampled_from(_SOUP.split()), max_size=8).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), WORD_SOUP))
def test_any_text_is_understood_or_refused_in_one_sentence(text):
    try:
        found = understand(text, PARTS, material_of)
    except InputError:
        return
    assert 1 <= found.quantity <= 100
    if not text.strip().startswith("/"):
        assert found.path.parent.is_relative_to(FOLDER)
        assert not {"without", "not"} & set(text.split()), "a word was ignored"
