"""What every test of the command line has."""

import pytest

from industriverse_cli.main import main


@pytest.fixture(autouse=True)
def quiet_compiler(monkeypatch):
    """No notice that loops are compiled: whether a test comes first after a change of them says nothing about it."""
    monkeypatch.setattr("industriverse_core.compiled.announce_compilation", lambda announce: None)


@pytest.fixture
def run(capsys):
    """Run the command line in this process; (exit status, standard output, standard error)."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
