"""TFLite files that are sealed and hostile: the archive behind the model, and the model itself."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from support import artifacts, models
from support.hostile import (
    MANIFEST,
    Ending,
    Member,
    archive,
    changed,
    manifest_member,
    refusal,
    reseal,
)

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES

OURS = manifest_member()


def test_handmade_archive_is_read_when_it_is_like_ours(tmp_path: Path) -> None:
    """What the cases below vary."""
    path = tmp_path / "fair.tflite"
    path.write_bytes(archive([OURS, Member("labels.txt", b"Parasitized\nUninfected\n")]))
    assert read_artifact(path).manifest == artifacts.tiny_manifest()


BOMB = bytes(5_000_000)


@pytest.mark.parametrize(
    "members",
    [
        [changed(OURS, deflated=True)],
        [changed(OURS, method=8)],
        [OURS, Member("labels.txt", BOMB, deflated=True)],
        [OURS, Member("labels.txt", BOMB, deflated=True, claimed_size=1)],
        [OURS, Member("labels.txt", claimed_size=(1 << 31) - 1)],
        [changed(OURS, claimed_size=(1 << 31) - 1)],
    ],
    ids=[
        "deflated",
        "said to be deflated",
        "bomb",
        "bomb that claims little",
        "claims 2 GB",
        "manifest of 2 GB",
    ],
)
def test_zip_bomb_is_refused(tmp_path: Path, members: list[Member]) -> None:
    assert "is compressed or encrypted" in refusal(tmp_path, archive(members), "tflite")


def test_zip_is_refused_when_both_its_sizes_claim_more_than_the_file(tmp_path: Path) -> None:
    data = archive([OURS, Member("labels.txt", b"x" * 9)])
    grown = data[:-64].replace(b"\x09\0\0\0\x09\0\0\0", b"\xff\xff\xff\x7f\xff\xff\xff\x7f")
    assert "is damaged" in refusal(tmp_path, reseal(grown), "tflite")


def test_manifest_is_refused_when_it_is_too_large(tmp_path: Path) -> None:
    data = archive([manifest_member(MAX_MANIFEST_BYTES + 1)])
    assert f"above {MAX_MANIFEST_BYTES:,} bytes" in refusal(tmp_path, data, "tflite")


@pytest.mark.parametrize(
    "name",
    [
        "../labels.txt",
        "../../etc/cron.d/x",
        "/etc/passwd",
        "C:\\windows\\x.dll",
        "..\\labels.txt",
        "a/../../b",
        "labels.txt/",
        "./labels.txt",
        "labels.txt\0.exe",
        "LABELS.TXT",
        "weights.bin",
        "",
    ],
)
def test_file_is_refused_when_its_archive_holds_another_name(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, archive([OURS, Member(name)]), "tflite")
    assert "which `edgecell export` never puts there" in said


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([OURS, OURS], "it holds 'edgecell_manifest.json' twice"),
        ([OURS, Member("labels.txt"), Member("labels.txt")], "it holds 'labels.txt' twice"),
        ([Member("labels.txt")], f"holds no {MANIFEST}"),
        ([], "or has 0 files"),
        ([OURS] + [Member(f"{number}") for number in range(5000)], "or has 5,001 files"),
    ],
    ids=["two manifests", "two of labels", "no manifest", "empty", "thousands"],
)
def test_archive_is_refused_when_it_holds_too_few_or_too_many(
    tmp_path: Path, members: list[Member], said: str
) -> None:
    assert said in refusal(tmp_path, archive(members), "tflite")


ZIP64 = b"\1\0\x10\0" + bytes(16)


@pytest.mark.parametrize(
    ("members", "ending"),
    [
        ([changed(OURS, flags=1)], Ending()),
        ([changed(OURS, flags=8)], Ending()),
        ([changed(OURS, directory_flags=1)], Ending()),
        ([changed(OURS, directory_name="labels.txt")], Ending()),
        ([changed(OURS, extra=ZIP64)], Ending()),
        ([changed(OURS, directory_extra=ZIP64)], Ending()),
        ([changed(OURS, disk=1)], Ending()),
        ([changed(OURS, checksum=1)], Ending()),
        ([changed(OURS, moved=1)], Ending()),
        ([changed(OURS, moved=-4)], Ending()),
        ([OURS, changed(Member("labels.txt"), moved=-8)], Ending()),
        ([OURS, Member("labels.txt", gap=b"hidden")], Ending()),
        ([OURS], Ending(gap=b"hidden")),
        ([OURS], Ending(moved=-1)),
        ([OURS], Ending(moved=-(1 << 31))),
        ([OURS], Ending(entries=2)),
        ([OURS], Ending(entries=0)),
        ([OURS], Ending(entries=0xFFFF)),
        ([OURS], Ending(disk=1)),
    ],
    ids=[
        "encrypted",
        "sizes behind the data",
        "encrypted in the directory only",
        "two names",
        "zip64 at the file",
        "zip64 in the directory",
        "on another disk",
        "another checksum",
        "no header there",
        "header elsewhere",
        "overlapping",
        "something hidden between",
        "something hidden behind",
        "directory elsewhere",
        "directory far away",
        "more entries than there are",
        "fewer entries",
        "as many entries as zip64 says",
        "several disks",
    ],
)
def test_archive_is_refused_when_it_can_be_read_in_two_ways(
    tmp_path: Path, members: list[Member], ending: Ending
) -> None:
    said = refusal(tmp_path, archive(members, ending=ending), "tflite")
    assert "The appended archive is not one that `edgecell export` writes" in said


def test_zip64_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    buffer.write(models.tflite_model())
    with zipfile.ZipFile(buffer, "w") as file:
        with file.open(zipfile.ZipInfo(MANIFEST), "w", force_zip64=True) as entry:
            entry.write(OURS.content)
        file.comment = b"edgecell sha256 " + b"0" * 64
    said = refusal(tmp_path, reseal(buffer.getvalue()[:-64]), "tflite")
    assert "extra" in said or "different things" in said


@pytest.mark.parametrize("comment", [b"", b"from another tool"])
def test_two_archives_are_refused(tmp_path: Path, comment: bytes) -> None:
    buffer = io.BytesIO()
    buffer.write(models.tflite_model())
    with zipfile.ZipFile(buffer, "w") as other:
        other.writestr("labels.txt", "Uninfected\nParasitized\n")
        other.comment = comment
    said = refusal(tmp_path, archive([OURS], buffer.getvalue()), "tflite")
    assert "another archive ends where it begins" in said


def test_archive_is_refused_when_it_begins_inside_the_model(tmp_path: Path) -> None:
    model = models.tflite_model()
    weights = model.index(models.WEIGHTS.tobytes())
    said = refusal(tmp_path, archive([OURS], model[: weights + 100]), "tflite")
    assert "Its TFLite model is cut short or damaged" in said


def _model(change: Callable[[schema.ModelT], None]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(models.tflite_model(), 0)
    change(model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return container_of("tflite").seal(bytes(builder.Output()), artifacts.tiny_manifest())


def _external_buffers(model: schema.ModelT) -> None:
    group, buffer = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
    group.name, buffer.id, buffer.length = "/etc/passwd", 1, 100
    model.externalBufferGroups, model.externalBuffers = [group], [buffer]


def _external_group(model: schema.ModelT) -> None:
    group = schema.ExternalBufferGroupT()
    group.name = "../weights.bin"
    model.externalBufferGroups = [group]


def _buffer_behind(model: schema.ModelT) -> None:
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 4096, 1 << 40


def _custom_operator(model: schema.ModelT) -> None:
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = "FlexPyFunc"


def test_model_is_read_when_it_was_only_packed_again(tmp_path: Path) -> None:
    """What the cases below vary."""
    path = tmp_path / "fair.tflite"
    path.write_bytes(_model(lambda model: None))
    assert read_artifact(path).format == "tflite"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_external_buffers, "It has external buffers"),
        (_external_group, "It has external buffers"),
        (_buffer_behind, "a buffer whose numbers lie outside of the model"),
        (_custom_operator, "the custom operator 'FlexPyFunc'"),
    ],
)
def test_model_is_refused_when_it_asks_for_more_than_computing(
    tmp_path: Path, change: Callable[[schema.ModelT], None], said: str
) -> None:
    assert said in refusal(tmp_path, _model(change), "tflite")


@pytest.mark.parametrize("root", [0, 1, 1 << 31, (1 << 32) - 1])
def test_model_is_refused_when_its_root_lies_outside(tmp_path: Path, root: int) -> None:
    model = root.to_bytes(4, "little") + b"TFL3" + bytes(100)
    data = container_of("tflite").seal(model, artifacts.tiny_manifest())
    assert "cut short or damaged" in refusal(tmp_path, data, "tflite")
