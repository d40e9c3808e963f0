"""What ``benchmarks/microcontroller.py`` says where it cannot begin."""

import micro_engine
import pytest
import vela

from edgecell_runtime.errors import MissingPartError


def test_missing_tflite_micro_is_said_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(micro_engine, "find_spec", lambda _name: None)
    with pytest.raises(MissingPartError, match="--group microcontroller"):
        micro_engine.require()


def test_missing_vela_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vela, "executable", lambda _name: None)
    with pytest.raises(MissingPartError, match="--group microcontroller"):
        vela.require()
