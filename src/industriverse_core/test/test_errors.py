"""Codes and the tree: every code has a block, and every block its class."""

import pytest

from industriverse_core.errors import (
    CoreError,
    ErrorCode,
    GateError,
    InputError,
    JobError,
    MachineError,
    PermitError,
    PredictionError,
    ProfileError,
    error_from_code,
)

BLOCKS = {
    1: InputError,
    2: ProfileError,
    3: GateError,
    4: PermitError,
    5: MachineError,
    6: PredictionError,
    7: JobError,
}


@pytest.mark.parametrize("code", [code for code in ErrorCode if code])
def test_an_answers_code_becomes_the_error_of_its_block(code):
    error = error_from_code(int(code), "what was seen.")
    assert type(error) is BLOCKS[code // 100]
    assert (error.code, str(error)) == (code, "what was seen.")


def test_a_code_of_a_newer_release_is_said_as_such():
    error = error_from_code(999, "something new.")
    assert error.code is ErrorCode.UNREADABLE_MESSAGE
    assert "999" in error.message
    assert "something new." in error.message


def test_the_remedy_is_part_of_the_sentence():
    assert str(CoreError(ErrorCode.FILE_EMPTY, "It is empty.", "Fill it.")) == "It is empty. Fill it."
