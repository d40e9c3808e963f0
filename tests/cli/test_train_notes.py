from pathlib import Path

import pytest
from support.report_page import make_run

from edgecell.tasks import training


@pytest.mark.parametrize(("each", "noted"), [(24, True), (25, False)])
def test_run_that_held_out_too_few_images_for_an_export_is_noted(
    each: int, noted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training._say_what_to_know(make_run(tmp_path, each=each))
    assert ("images were held out" in capsys.readouterr().err) is noted
