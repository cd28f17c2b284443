"""What every test of the command line has."""

import pytest


@pytest.fixture(autouse=True)
def quiet_compiler(monkeypatch):
    """No notice that loops are compiled: whether a test comes first after a change of them says nothing about it."""
    monkeypatch.setattr("industriverse_core.compiled.announce_compilation", lambda announce: None)
