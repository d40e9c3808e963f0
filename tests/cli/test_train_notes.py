import dataclasses
import re
from pathlib import Path

import pytest
from support.report_page import make_run

from edgecell.tasks import training
from edgecell_train.runs import ANSWERS, SPLIT


@pytest.mark.parametrize(("each", "noted"), [(24, True), (25, False)])
def test_run_that_held_out_too_few_images_for_an_export_is_noted(
    each: int, noted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training._say_what_to_know(make_run(tmp_path, each=each))
    assert ("The test has only 48 images" in capsys.readouterr().err) is noted


def test_notes_of_a_set_with_its_own_test_part_speak_of_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, each=30, patients=False)
    training._say_what_to_know(run)
    assert "No image names a patient, so they were split one by one" in capsys.readouterr().err
    for file in (SPLIT, ANSWERS):
        path = tmp_path / file
        path.write_text(re.sub(r"cell (\d+)\.png", r"x_test-0000\1", path.read_text()))
    training._say_what_to_know(run)
    said = capsys.readouterr().err
    assert "The test part is the set's own" in said
    assert "one by one" not in said


def test_notes_count_one_unreadable_image_in_the_singular(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, each=30)
    data = dataclasses.replace(run.record.data, unreadable=("broken.png",))
    training._say_what_to_know(
        dataclasses.replace(run, record=dataclasses.replace(run.record, data=data))
    )
    assert "Left out: 1 image that could not be read, such as broken.png" in capsys.readouterr().err
