"""A latch outlives the process that made it, and a doubtful memory is a latch."""

import pytest

from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.permit import StopLevel
from shield_node.memory import Memory, load, save
from shield_node.shield import Latch, Shield
from shield_node.transitions import State

LATCH = Latch(2**63 - 1, StopLevel.STOP0, ErrorCode.STOP_REQUESTED, "ada asked to stop: smells odd.")


@pytest.mark.parametrize("memory", [Memory(), Memory(7, None), Memory(2**62, LATCH)])
def test_what_is_saved_is_loaded(tmp_path, memory):
    save(tmp_path / "shield.json", memory)
    assert load(tmp_path / "shield.json") == memory
    assert (tmp_path / "shield.json").stat().st_mode & 0o777 == 0o600


def test_a_first_start_remembers_nothing(tmp_path):
    assert load(tmp_path / "shield.json") == Memory()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"incarnation": 1}', b'{"incarnation": 1, "latch": {"id": 1}}', b"\xff\xfe"]
)
def test_a_memory_that_cannot_be_read_is_a_latch(tmp_path, content):
    path = tmp_path / "shield.json"
    path.write_bytes(content)
    latch = load(path).latch
    assert latch is not None
    assert str(path) in latch.cause


def test_a_shield_that_starts_with_a_latch_permits_nothing_until_it_is_cleared():
    shield = Shield("m", b"k" * 32, 5, kept_latch=LATCH)
    assert shield.state is State.LATCHED
    assert shield.latched() == LATCH
    assert shield.tick(0.05) is None
    with pytest.raises(PermitError):
        shield.clear(LATCH.latch_id + 1, "another latch", 0.05)
    assert shield.state is State.LATCHED
