"""``edgecell compress --resume``: what goes on, with what, and that nothing of it is lost."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_models import CHAIN
from support.command_line import invoke
from support.tiny_training import chain_run, contents

from edgecell.tasks import compressing, compressing_request
from edgecell.tasks.compressing_request import Request, begin, carried_on, find_unfinished
from edgecell.tasks.compressing_words import no_net
from edgecell_runtime.errors import EdgecellError, RunError, TrainingError, UsageError
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.search import SEARCH, read_search, write_search
from edgecell_train.config_files import Layer
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run, find_run


@pytest.fixture(autouse=True)
def _chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "chain", CHAIN)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return chain_run(tmp_path_factory.mktemp("source"))


def _begun(run: Run, out: Path) -> Path:
    return begin(Request(run.folder, Limits(macs=1000), out=out))


def test_compression_that_found_nothing_is_not_the_latest_unfinished_one(
    source: Run, tmp_path: Path
) -> None:
    folder = _begun(source, tmp_path)
    latest = Request(None, None, out=tmp_path, resume="latest")
    assert find_unfinished(latest) == folder
    write_search(folder, dataclasses.replace(read_search(folder), exhausted=True))
    with pytest.raises(RunError, match="no unfinished compression"):
        find_unfinished(latest)


def test_compression_goes_on_where_its_source_and_images_are_now(
    source: Run, tmp_path: Path
) -> None:
    gone = shutil.copytree(source.folder, tmp_path / "gone")
    search = read_search(_begun(find_run(gone), tmp_path))
    moved = gone.rename(tmp_path / "moved")
    images = source.folder / source.record.data.location
    with pytest.raises(RunError, match="name it where it is now: edgecell compress RUN --resume x"):
        carried_on(search, Request(None, None, data=images, resume="x"))
    asked = Request(
        moved,
        None,
        data=images,
        layers=[Layer("--set", {"patients": "/new/patients.csv", "disputed": "/new/disputed.csv"})],
        resume="x",
    )
    found = carried_on(search, asked)
    assert found.source == str(moved.resolve())
    assert found.config.teachers == (str(moved.resolve()),)
    assert found.config.data == str(images.absolute())
    assert found.config.disputed == "/new/disputed.csv"


def test_compression_goes_on_with_the_teachers_that_it_began_with(
    source: Run, tmp_path: Path
) -> None:
    old = str(source.folder.resolve())
    teachers = Layer("--set", {"teachers": ["/others/one", old]})
    folder = begin(Request(source.folder, Limits(macs=1000), [teachers], out=tmp_path))
    search = read_search(folder)
    moved = shutil.copytree(source.folder, tmp_path / "moved")
    images = source.folder / source.record.data.location
    found = carried_on(search, Request(moved, None, [teachers], data=images, resume="x"))
    assert found.config.teachers == ("/others/one", str(moved.resolve()))
    other = Layer("--set", {"teachers": [old]})
    with pytest.raises(UsageError, match="begun with another teachers"):
        carried_on(search, Request(source.folder, None, [other], resume="x"))


@pytest.mark.parametrize(
    ("limits", "layers", "words"),
    [
        (Limits(macs=1001), [], "begun with other limits"),
        (None, [Layer("--set", {"epochs": 77})], "begun with another epochs"),
        (None, [Layer("--set", {"seed": 7})], "keeps the seed of its source"),
    ],
)
def test_compression_goes_on_with_nothing_else(
    limits: Limits | None, layers: list[Layer], words: str, source: Run, tmp_path: Path
) -> None:
    search = read_search(_begun(source, tmp_path))
    with pytest.raises(EdgecellError, match=words):
        carried_on(search, Request(None, limits, layers, resume="x"))


def test_finished_run_is_no_compression_that_goes_on(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _begun(source, tmp_path).rename(tmp_path / "compression")
    before = contents(folder)
    done = invoke(capsys, "compress", "--resume", folder, "--max-macs", "2k")
    assert done.status == 1
    assert "is no unfinished compression; expected a folder ...-search" in done.err
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["", "damaged"])
def test_refused_resume_leaves_a_compression_as_it_was(
    damage: str, source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _begun(source, tmp_path)
    (folder / SEARCH).write_text(damage or (folder / SEARCH).read_text())
    before = contents(folder)
    done = invoke(capsys, "compress", "--resume", folder, "--max-macs", "2k")
    assert done.status in (1, 2)
    assert ("cannot be read" if damage else "begun with other limits") in done.err
    assert contents(folder) == before


def test_damaged_search_does_not_hide_the_latest_one(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _begun(source, tmp_path)
    damaged = tmp_path / "99999999-000000-chain-compressed-search"
    damaged.mkdir()
    (damaged / SEARCH).write_text("{}")
    assert find_unfinished(Request(None, None, out=tmp_path, resume="latest")) == whole
    assert f"{damaged.name}/search.json cannot be read" in " ".join(capsys.readouterr().err.split())


def test_compression_that_diverged_says_how_to_begin_anew_and_does_not_go_on(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _begun(source, tmp_path)
    lower = "The loss became nan. Try --set optimizer.learning_rate=0.0005."
    with (
        pytest.raises(TrainingError, match=r"0\.0005\. .* begin the compression anew\. .*-search"),
        compressing._kept(folder, is_new=True),
    ):
        raise TrainingError(lower)
    with pytest.raises(RunError, match="no unfinished compression"):
        find_unfinished(Request(None, None, out=tmp_path, resume="latest"))
    before = contents(folder)
    done = invoke(capsys, "compress", "--resume", folder)
    assert done.status == 1
    assert lower in " ".join(done.err.split())
    assert contents(folder) == before


def test_compression_without_a_narrower_net_does_not_name_the_source_as_the_nearest(
    source: Run, tmp_path: Path
) -> None:
    search = read_search(_begun(source, tmp_path))
    whole = Point("source", 0, 9_000, 0.1, 3.0, 4_000, 3_000, 0.9, 0.0, 0.0, {"first": 2})
    assert "no layer of this one can lose a channel, and it takes 9,000 bytes" in str(
        no_net(tmp_path, dataclasses.replace(search, points=(whole,)))
    )
    step = dataclasses.replace(whole, kind="step", step=1, size_bytes=8_000, drop=7.0)
    words = str(no_net(tmp_path, dataclasses.replace(search, points=(whole, step))))
    assert "the nearest: 8,000 bytes" in words
    assert "9,000" not in words


def test_compression_never_takes_the_place_of_another(
    source: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = compressing_request._places

    def taken_meanwhile(out: Path, name: str) -> Iterator[Path]:
        for number, place in enumerate(places(out, name)):
            if number == 0:
                place.mkdir()
                (place / "theirs").touch()
            yield place

    monkeypatch.setattr(compressing_request, "_places", taken_meanwhile)
    folder = _begun(source, tmp_path)
    assert folder.name.endswith("-compressed-2-search")
    assert (folder.with_name(folder.name.replace("-2-", "-")) / "theirs").exists()


def test_compression_takes_no_place_beside_a_run_of_its_name(tmp_path: Path) -> None:
    places = compressing_request._places(tmp_path, "net")
    first = next(places).name.removesuffix("-search")
    (tmp_path / f"{first}-2").mkdir()
    assert next(places).name == f"{first}-3-search"


def test_resume_is_refused_when_nothing_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = invoke(capsys, "compress", "--resume", "latest", "--out", tmp_path)
    assert done.status == 1
    assert "There is no unfinished compression" in done.err
    done = invoke(capsys, "compress", "--resume", "nothing-search", "--out", tmp_path)
    assert "is no unfinished compression" in done.err
