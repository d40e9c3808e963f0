import os
import sys
import warnings

import pytest

from edgecell_export.output_capture import converter_output


def test_output_of_python_and_of_libraries_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    with converter_output() as caught:
        os.write(1, b"written to 1\n")
        os.write(2, b"written to 2\n")
    assert caught == ["written to 1\nwritten to 2"]
    os.write(1, b"afterwards\n")
    assert capfd.readouterr() == ("afterwards\n", "")


def test_warnings_are_caught_even_where_they_are_errors() -> None:
    with converter_output() as caught:
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)
    assert caught == ["DeprecationWarning: an old name"]
    with pytest.raises(DeprecationWarning, match="outside"):
        warnings.warn("outside", DeprecationWarning, stacklevel=1)


def test_only_the_end_of_the_output_is_kept() -> None:
    with converter_output() as caught:
        os.write(1, b"a" * 5000 + b"the end")
    assert len(caught[0]) == 2000
    assert caught[0].endswith("athe end")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_streams_come_back_when_the_block_raises(
    capfd: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    def interrupted() -> None:
        with converter_output():
            os.write(1, b"inside\n")
            raise error

    with pytest.raises(error):
        interrupted()
    os.write(1, b"to 1")
    os.write(2, b"to 2")
    assert capfd.readouterr() == ("to 1", "to 2")


def test_what_was_printed_before_stays_outside(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stderr.write("not flushed yet")
    with converter_output() as caught:
        pass
    assert caught == [""]
    assert capfd.readouterr().err == "not flushed yet"
