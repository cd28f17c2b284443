"""Permits: what is signed, what is refused, and the key's file."""

import math
import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError, PermitError
from industriverse_core.permit import (
    KEY_BYTES,
    Permit,
    PermitLevel,
    check_fields,
    is_authentic,
    load_or_create_key,
    sign,
)

KEY = bytes(range(32))
u64 = st.integers(0, 2**64 - 1)
permits = st.builds(
    Permit,
    machine_id=st.text(max_size=64),
    incarnation=u64,
    sequence=u64,
    challenge=u64,
    program_digest=st.binary(min_size=32, max_size=32),
    cleared_latch=u64,
    level=st.sampled_from(PermitLevel),
    speed_scale=st.floats(0, 1, width=32),
    valid_for_ms=st.integers(0, 2**32 - 1),
)
PERMIT = Permit("printer", 1, 2, 3, b"\x11" * 32, 4)
CHANGES = {
    "machine_id": "printes",
    "incarnation": 2,
    "sequence": 3,
    "challenge": 4,
    "program_digest": b"\x11" * 31 + b"\x12",
    "cleared_latch": 5,
    "level": PermitLevel.REDUCED,
    "speed_scale": 0.5,
    "valid_for_ms": 151,
    "mac": bytes(32),
}


@settings(deadline=None)
@given(permits)
def test_a_signed_permit_is_authentic_for_its_key_alone(permit):
    signed = sign(permit, KEY)
    assert is_authentic(signed, KEY)
    assert not is_authentic(signed, KEY[::-1])
    assert not is_authentic(permit, KEY)


@pytest.mark.parametrize("name", [field.name for field in fields(Permit)])
def test_any_changed_field_is_refused(name):
    signed = sign(PERMIT, KEY)
    changed = replace(signed, **{name: CHANGES[name]})
    assert changed != signed
    assert not is_authentic(changed, KEY)


@settings(deadline=None)
@given(permits, permits)
def test_different_permits_are_signed_over_different_bytes(one, other):
    if replace(one, mac=b"") != replace(other, mac=b""):
        assert one.signed_bytes() != other.signed_bytes() or one.speed_scale == other.speed_scale == 0.0


@settings(deadline=None)
@given(permits, st.integers(0, 255))
def test_any_flipped_bit_of_the_mac_is_refused(permit, bit):
    signed = sign(permit, KEY)
    mac = bytearray(signed.mac)
    mac[bit // 8] ^= 1 << bit % 8
    assert not is_authentic(replace(signed, mac=bytes(mac)), KEY)
    assert not is_authentic(replace(signed, mac=signed.mac[:31]), KEY)


@pytest.mark.parametrize("change", [
    {"speed_scale": 0.0}, {"speed_scale": -1.0}, {"speed_scale": 1.001}, {"speed_scale": math.nan},
    {"speed_scale": math.inf}, {"valid_for_ms": 0}, {"valid_for_ms": 151},
])  # fmt: skip
def test_fields_out_of_range_are_refused(change):
    with pytest.raises(PermitError) as caught:
        check_fields(replace(PERMIT, **change))
    assert caught.value.code is ErrorCode.PERMIT_FORGED


def test_fields_in_range_pass():
    check_fields(PERMIT)
    check_fields(replace(PERMIT, speed_scale=0.001, valid_for_ms=1))


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "cell" / "permit.key"
    key = load_or_create_key(path)
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path) == key
    assert load_or_create_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "permit.key"
    load_or_create_key(path)
    os.chmod(path, mode)
    with pytest.raises(InputError) as caught:
        load_or_create_key(path)
    assert caught.value.code is ErrorCode.FILE_UNREADABLE
    assert f"{mode:04o}" in caught.value.message
    assert str(path) in caught.value.remedy


@pytest.mark.parametrize("content", [b"short", b"x" * 33])
def test_a_key_of_the_wrong_length_is_refused(tmp_path, content):
    path = tmp_path / "permit.key"
    path.write_bytes(content)
    os.chmod(path, 0o600)
    with pytest.raises(InputError, match=f"{len(content)} bytes, 32"):
        load_or_create_key(path)


def test_processes_that_start_together_get_one_key(tmp_path):
    """The first start of a cell: shield and machine node ask at the same moment."""
    path = tmp_path / "cell" / "permit.key"
    code = "import sys, pathlib; from industriverse_core.permit import load_or_create_key as load; "
    code += "sys.stdin.read(); print(load(pathlib.Path(sys.argv[1])).hex())"
    for _ in range(5):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", code, str(path)]
        racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for racer in racers:
            racer.stdin.close()
            racer.stdin = None
        keys = {racer.communicate()[0].strip() for racer in racers}
        assert keys == {path.read_bytes().hex()}
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
