"""Autocorrect: each rewrite does what it says, the proof sees every change of the part, nothing bad is accepted."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.artefacts import Finding, GateReport, Severity, Verdict
from industriverse_core.program import Heater, Limit, Metadata, Op, Program, build_program
from twin_node.autocorrect import REWRITES, heat, moves, propose, travel
from twin_node.autocorrect import propose as propose_function
from twin_node.autocorrect.editing import changed, inserted, rearranged
from twin_node.autocorrect.geometry import deviation
from twin_node.autocorrect.propose import DISTANCE_M, VOLUME_M3, Rewrite

ON = [
    {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 60.0},
    {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 210.0},
    {"op": Op.HOME, "target": 7},
]
OFF = [
    {"op": Op.DWELL, "value": 300.0},
    {"op": Op.SET_HEATER, "target": Heater.HOTEND, "value": 0.0},
    {"op": Op.SET_HEATER, "target": Heater.BED, "value": 0.0},
]


def line_to(x, y, z=0.2, fed=0.0, feed=0.05):
    volume = fed * 1e-9
    return {
        "op": Op.STRAIGHT_FEED,
        "x_m": x / 1e3,
        "y_m": y / 1e3,
        "z_m": z / 1e3,
        "feed_m_s": feed,
        "extrude_m3": volume,
    }


def travel_to(x, y, z=0.2):
    return {**line_to(x, y, z), "op": Op.STRAIGHT_TRAVERSE, "feed_m_s": 0.15}


def islands(places, layers=(0.2,)):
    """A small square at each place, layer by layer."""
    rows = []
    for z in layers:
        for x, y in places:
            rows.append(travel_to(x, y, z))
            rows += [line_to(x + 2, y, z, 0.4), line_to(x + 2, y + 2, z, 0.4), line_to(x, y, z, 0.6)]
    return rows


def program_of(rows):
    return build_program([{"line": at + 1, **row} for at, row in enumerate(rows)], Metadata(material="PLA"))


def accept(program):
    return GateReport(program.digest, "prusa_mk3s", Verdict.ACCEPT, (), 0, 0)


def total_travel(program):
    traverse = program.op == Op.STRAIGHT_TRAVERSE
    return np.linalg.norm((program.positions_m() - program.starts_m())[traverse], axis=1).sum()


SCATTERED = [(10, 10), (150, 150), (12, 40), (150, 10), (14, 80), (140, 80)]
PART = program_of(ON + islands(SCATTERED, (0.2, 0.6, 1.2)) + OFF)


# --- the proof ---


@pytest.mark.parametrize("column", ["x_m", "y_m", "z_m", "extrude_m3"])
def test_a_changed_move_is_seen(column):
    where = 10
    assert PART.extrude_m3[where] > 0
    amount = 1e-5 if column != "extrude_m3" else 1e-11
    column_of = PART.columns[column].copy()
    column_of[where] += amount
    assert not deviation(PART, changed(PART, **{column: column_of})).within(DISTANCE_M, VOLUME_M3)


def test_a_missing_an_added_and_a_swapped_layer_are_seen():
    work = np.flatnonzero(PART.extrude_m3 > 0)
    left_out = rearranged(PART, np.delete(np.arange(len(PART)), work[5]))
    assert deviation(PART, left_out).distance_m == np.inf
    assert deviation(left_out, PART).distance_m == np.inf
    upside_down = program_of(ON + islands(SCATTERED, (1.2, 0.6, 0.2)) + OFF)
    assert deviation(PART, upside_down).distance_m == np.inf


def test_a_corner_left_out_is_measured():
    bent = program_of([line_to(0, 0), line_to(10, 0.0005, 0.2, 1), line_to(20, 0, 0.2, 1)])
    straight = program_of([line_to(0, 0), line_to(20, 0, 0.2, 2)])
    found = deviation(bent, straight)
    assert found.distance_m == pytest.approx(5e-7, rel=1e-6)
    assert found.volume_m3 < 1e-15


def test_cut_moves_may_not_change_places():
    cuts = program_of([line_to(10, 0, -1), line_to(10, 10, -1), line_to(0, 10, -1)])
    other = program_of([line_to(10, 10, -1), line_to(10, 0, -1), line_to(0, 10, -1)])
    assert deviation(cuts, cuts).distance_m == 0.0
    assert deviation(cuts, other).distance_m == np.inf


# --- the rewrites ---


def test_corners_on_a_straight_line_and_repeated_settings_go(printer, pla):
    rows = [line_to(x, 0, 0.2, 0.1) for x in (1, 2, 3, 4)] + [line_to(4, 4, 0.2, 0.4)]
    fan = {"op": Op.SET_FAN, "value": 1.0}
    source = program_of([fan, travel_to(0, 0), *rows[:2], fan, *rows[2:], travel_to(4, 4)])
    after = moves.merge_moves(source, printer, pla)
    assert after.op.tolist() == [Op.SET_FAN, Op.STRAIGHT_TRAVERSE, *[Op.STRAIGHT_FEED] * 3]
    assert after.extrude_m3.sum() == pytest.approx(source.extrude_m3.sum())
    assert deviation(source, after).within(1e-12, 1e-15)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.integers(0, 4), st.sampled_from([0.0, 0.05, 0.1]), st.sampled_from([0.05, 0.1])
        ),
        min_size=1,
        max_size=60,
    )
)
def test_merging_never_changes_the_part(points):
    source = program_of([line_to(x / 4, y / 1000, 0.2, fed, feed) for x, y, fed, feed in points])
    after = moves.merge_moves(source, None, None)
    assert deviation(source, after).within(DISTANCE_M, VOLUME_M3)
    assert len(after) <= len(source)


def test_travels_become_shorter_and_the_part_stays(printer, pla):
    after = travel.shorten_travel(PART, printer, pla)
    assert total_travel(after) < 0.6 * total_travel(PART)
    assert deviation(PART, after).distance_m == 0.0


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=4, max_size=30), st.booleans())
def test_any_islands_keep_the_part_and_never_travel_farther(places, retract):
    rows = islands(places, (0.2, 0.4))
    if retract:  # each island begins with filament fed back and ends with it drawn
        rows = [part for row in rows for part in _retracting(row)]
    source = program_of(ON + rows + OFF)
    after = travel.shorten_travel(source, None, None)
    assert deviation(source, after).distance_m == 0.0
    assert total_travel(after) <= total_travel(source) + 1e-9
    assert sorted(after.line.tolist()) == sorted(source.line.tolist())


def _retracting(row):
    draw = {"op": Op.STRAIGHT_FEED, "feed_m_s": 0.03, "extrude_m3": -2e-9}
    return [draw, row, {**draw, "extrude_m3": 2e-9}] if row["op"] == Op.STRAIGHT_TRAVERSE else [row]


def test_islands_with_settings_inside_stay_where_they_are(printer, pla):
    limit = {"op": Op.SET_LIMIT, "target": Limit.PRINT_ACCELERATION, "value": 1.0}
    rows = [part for row in islands(SCATTERED) for part in (row, limit)]
    source = program_of(ON + rows + OFF)
    assert travel.shorten_travel(source, printer, pla) is source


def test_heaters_go_off_with_the_last_filament(printer, pla):
    after = heat.switch_off_early(PART, printer, pla)
    last = np.flatnonzero(after.extrude_m3 > 0)[-1]
    assert after.op[last + 1 : last + 3].tolist() == [Op.SET_HEATER] * 2
    assert sorted(after.target[last + 1 : last + 3]) == [Heater.HOTEND, Heater.BED]
    assert not after.value[last + 1 : last + 3].any()
    assert heat.switch_off_early(after, printer, pla) is after


def test_the_nozzle_heats_with_the_bed(printer, pla):
    after = heat.heat_in_parallel(PART, printer, pla)
    assert (after.op[0], after.target[0], after.value[0]) == (Op.SET_HEATER, Heater.HOTEND, 210.0)
    assert after.op[1:4].tolist() == PART.op[:3].tolist()
    assert heat.heat_in_parallel(after, printer, pla) is after


def test_the_bed_cools_after_the_first_millimetre(printer, pla):
    after = heat.cool_bed_after_first_layers(PART, printer, pla)
    at = int(np.flatnonzero((after.op == Op.SET_HEATER) & (after.value == pla.bed_hold))[0])
    deposits = after.extrude_m3 > 0
    assert after.z_m[:at][deposits[:at]].max() <= 1e-3
    assert after.z_m[at:][deposits[at:]].min() > 1e-3
    assert heat.cool_bed_after_first_layers(after, printer, pla) is after


def test_forgotten_waits_are_added(printer, pla):
    switched = [{**row, "op": Op.SET_HEATER} if row["op"] == Op.WAIT_HEATER else row for row in ON]
    source = program_of(switched + islands(SCATTERED) + OFF)
    after = heat.wait_for_heat(source, printer, pla)
    first = int(np.flatnonzero(after.extrude_m3 > 0)[0])
    assert after.op[first - 2 : first].tolist() == [Op.WAIT_HEATER] * 2
    assert sorted(after.value[first - 2 : first]) == [60.0, 210.0]
    assert heat.wait_for_heat(PART, printer, pla) is PART


def test_flow_and_planner_limits_are_respected(printer, pla):
    fat = line_to(20, 0, 0.2, 20.0, 0.05)  # 50 mm^3/s
    limit = {"op": Op.SET_LIMIT, "target": Limit.ACCELERATION_X, "value": 100.0}
    source = program_of([*ON, limit, travel_to(0, 0), fat, *OFF])
    after = moves.respect_planner_limits(moves.respect_flow_limit(source, printer, pla), printer, pla)
    at = int(np.flatnonzero(after.extrude_m3 > 0)[0])
    length = np.linalg.norm(after.positions_m()[at] - after.starts_m()[at])
    assert after.extrude_m3[at] / (length / after.feed_m_s[at]) <= printer.extruder.max_flow
    assert after.value[3] == printer.kinematics.x.max_acceleration


def test_feeds_rise_within_the_flow_limit(printer, pla):
    after = moves.feed_up_to_flow_limit(PART, printer, pla)
    work = PART.extrude_m3 > 0
    raised = after.feed_m_s > PART.feed_m_s
    assert raised.any()
    assert np.all(after.feed_m_s[raised] <= moves.FASTER * PART.feed_m_s[raised] + 1e-9)
    assert not raised[~work].any()
    assert not raised[PART.z_m <= 1e-3].any()


# --- the judge ---


def test_what_is_accepted_saves_and_keeps_the_part(printer, pla):
    result = propose(PART, printer, pla, accept)
    assert {step.rewrite.name for step in result.accepted} >= {"shorten_travel", "switch_off_early", "cool_bed"}
    assert deviation(PART, result.program).within(DISTANCE_M, VOLUME_M3)
    assert result.saved_j == pytest.approx(sum(step.saved_j for step in result.accepted))
    assert result.saved_j > 10e3  # 300 s of dwell with hot heaters alone


def test_only_named_rewrites_are_tried(printer, pla):
    result = propose(PART, printer, pla, accept, ["cool_bed"])
    assert [step.rewrite.name for step in result.steps] == ["cool_bed"]
    with pytest.raises(ValueError, match="no rewrite"):
        propose(PART, printer, pla, accept, ["cool_bad"])


def _thicker(program, profile, material):
    return changed(program, extrude_m3=program.extrude_m3 * 1.01)


def _unchanged_part(program, profile, material):
    return inserted(program, 0, [{"op": Op.DWELL, "value": 0.1}])


@pytest.mark.parametrize(
    ("function", "new_verdict", "words"),
    [
        (_thicker, Verdict.ACCEPT, "not be the same"),
        (_unchanged_part, Verdict.REFUSE, "refuse it (program.test)"),
        (_unchanged_part, Verdict.ACCEPT, "nothing worth while"),
    ],
)
def test_a_bad_rewrite_is_not_accepted(printer, pla, monkeypatch, function, new_verdict, words):
    module = __import__("sys").modules[propose_function.__module__]
    monkeypatch.setattr(module, "REWRITES", (Rewrite("bad", "do harm", "", function),))
    finding = Finding("program.test", Severity.ERROR, "Harm.", "Do not.")

    def gate(program):
        if program.digest == PART.digest or new_verdict is Verdict.ACCEPT:
            return accept(program)
        return dataclasses.replace(accept(program), verdict=new_verdict, findings=(finding,), error_count=1)

    result = propose(PART, printer, pla, gate)
    (step,) = result.steps
    assert words in step.reason
    assert result.program is PART


def test_a_program_that_cannot_be_predicted_is_mended_all_the_same(printer, pla):
    broken = program_of([*ON, {"op": Op.WAIT_HEATER, "target": Heater.CHAMBER, "value": 50.0}, *islands(SCATTERED)])

    def gate(program):
        left_on = not np.any((program.op == Op.SET_HEATER) & (program.value == 0.0))
        finding = Finding("thermal.left_on", Severity.WARNING, "Left on.", "Switch off.")
        report = accept(program)
        return (
            dataclasses.replace(report, verdict=Verdict.WARN, findings=(finding,), warning_count=1)
            if left_on
            else report
        )

    result = propose(broken, printer, pla, gate)
    assert [step.rewrite.name for step in result.accepted] == ["switch_off_early"]
    assert np.isnan(result.saved_j)
    assert result.report.verdict is Verdict.ACCEPT


def test_notes_stay_at_their_instructions(printer, pla):
    from industriverse_core.program import SourceNote

    unknown = program_of([*ON, {"op": Op.UNKNOWN}, *islands(SCATTERED), *OFF])
    noted = Program(unknown.columns, unknown.metadata, (SourceNote("unknown", 4, "M999", "", 3),))
    after = heat.heat_in_parallel(noted, printer, pla)
    assert after.op[after.notes[0].instruction] == Op.UNKNOWN


def test_names_are_unique():
    names = [rewrite.name for rewrite in REWRITES]
    assert len(set(names)) == len(names)
