from pathlib import Path

import pytest

from conductor_node.states import ENDED, TABLE, State, Trigger, diagram, document, transition
from industriverse_core.errors import ErrorCode, JobError


def test_each_row_is_found_and_everything_else_is_illegal():
    rows = {(row.state, row.trigger): row for row in TABLE}
    assert len(rows) == len(TABLE), "two rows for one state and trigger"
    for state in State:
        for trigger in Trigger:
            if (state, trigger) in rows:
                assert transition(state, trigger) is rows[state, trigger]
            else:
                with pytest.raises(JobError) as error:
                    transition(state, trigger)
                assert error.value.code is ErrorCode.ILLEGAL_TRANSITION
                assert state.name.lower() in str(error.value)


def test_terminal_states_never_reopen():
    assert all(row.next_state is row.state for row in TABLE if row.state in ENDED)


def test_every_state_can_be_reached_and_every_live_state_can_end():
    reached = {State.RECEIVED}
    for _ in State:
        reached |= {row.next_state for row in TABLE if row.state in reached}
    assert reached == set(State)
    for state in set(State) - ENDED:
        assert any(row.state is state and row.next_state in ENDED for row in TABLE), state


def test_only_one_row_executes_and_it_leaves_approved():
    rows = [row for row in TABLE if row.action.name == "EXECUTE"]
    assert [(row.state, row.next_state) for row in rows] == [(State.APPROVED, State.PERMITTED)]
    assert {row.state for row in TABLE if row.next_state is State.PERMITTED} == {State.APPROVED}


def test_values_are_those_of_the_message():
    im = pytest.importorskip("industriverse_msgs.msg")
    assert {state.name: int(state) for state in State} == {
        name: getattr(im.JobState, name) for name in State.__members__
    }


def test_document_is_current():
    file = Path(__file__).parents[1] / "STATES.md"
    assert file.read_text() == document(), "run: python -m conductor_node.states > src/conductor_node/STATES.md"
    assert "approved --> permitted" in diagram()
