import csv
import os
import zipfile
from pathlib import Path

import pytest

from edgecell_runtime.errors import DataError
from edgecell_runtime.patients import patient_of_name, read_patient_mappings
from edgecell_runtime.printable import printable_name

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def data_folder() -> Path:
    folder = Path(os.environ.get("EDGECELL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "nlm-cells-patients.csv").is_file():
        pytest.skip(f"NLM's cells are not in {folder}; set EDGECELL_DATA to where they are")
    return folder


def write_mapping(folder: Path, text: str, name: str = "patientid_cellmapping_test.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("file_name", "patient"),
    [
        ("C100P61ThinF_IMG_20150918_144104_cell_162.png", "P61"),
        ("C37BP2_thinF_IMG_20150620_132440a_cell_1.png", "P2"),
        ("C51AP12thinF_IMG_20150724_154330_cell_16.png", "P12"),
        ("C178P139NThinF_IMG_20151201_152107_cell_7.png", "P139"),
        ("C42P5thin_original_IMG_20150623_134231_cell_7.png", "P5"),
        ("C47P8thinFOriginalMotic_IMG_20150714_102009_cell_1.png", "P8"),
        ("C5NThinF_IMG_20150609_122108_cell_124.png", "C5"),
        ("C218ThinF_IMG_20151106_142346_cell_5.png", "C218"),
        ("C3thin_original_IMG_20150608_162835_cell_131.png", "C3"),
        ("C1_thinF_IMG_20150604_104722_cell_15.png", "C1"),
        ("Parasitized/C33P1thinF_IMG_20150619_114756a_cell_179.png", "P1"),
    ],
)
def test_patient_of_name_reads_the_patient_when_the_name_is_nlms(
    file_name: str, patient: str
) -> None:
    assert patient_of_name(file_name) == patient


@pytest.mark.parametrize(
    "file_name",
    [
        "",
        "cell_162.png",
        "C100P61ThinF.png",
        "C100P61ThinF_cell_IMG.png",
        "Cat5_IMG_1.png",
        "P61_IMG_1.png",
        "xC100P61ThinF_IMG_1.png",
        "c100p61thinf_IMG_1.png",
        "C٣ThinF_IMG_1.png",  # a digit, but not one of NLM's
        "C100P61ThinF_IMG_1/cell.png",
    ],
)
def test_patient_of_name_gives_none_when_the_name_is_not_nlms(file_name: str) -> None:
    assert patient_of_name(file_name) is None


def test_patient_of_name_looks_only_before_the_image_mark_when_a_p_follows_it() -> None:
    assert patient_of_name("C5NThinF_IMG_P7_cell_1.png") == "C5"


def test_patient_of_name_agrees_with_the_published_patients(data_folder: Path) -> None:
    with (data_folder / "nlm-cells-patients.csv").open(newline="", encoding="utf-8") as file:
        patients = {row["path"]: row["patient"] for row in csv.DictReader(file)}
    with zipfile.ZipFile(data_folder / "nlm-cells-50px.zip") as archive:
        names = [name.removeprefix("cell_images/") for name in archive.namelist()]

    assert len(names) == 22_165
    assert {name: patient_of_name(name) for name in names} == patients


def test_mappings_agree_with_the_published_patients(data_folder: Path) -> None:
    with (data_folder / "nlm-cells-patients.csv").open(newline="", encoding="utf-8") as file:
        patients = {row["path"].rpartition("/")[2]: row["patient"] for row in csv.DictReader(file)}

    mapped = read_patient_mappings(data_folder.glob("patientid_cellmapping_*.csv"))

    assert mapped == patients


def test_mappings_give_each_file_its_patient_when_the_slides_are_nlms(tmp_path: Path) -> None:
    path = write_mapping(
        tmp_path, "C100P61ThinF,['a.png', 'b.png']\nC5NThinF,['c.png'],,,\n\nC6N,[]\n"
    )

    assert read_patient_mappings([path]) == {"a.png": "P61", "b.png": "P61", "c.png": "C5"}


def test_mappings_take_the_slide_as_the_patient_when_it_is_not_nlms(tmp_path: Path) -> None:
    path = write_mapping(tmp_path, "Mrs Smith,['a.png']\n")

    assert read_patient_mappings([path]) == {"a.png": "Mrs Smith"}


def test_mappings_are_read_when_the_list_is_a_quoted_cell(tmp_path: Path) -> None:
    path = write_mapping(tmp_path, "\ufeffC5NThinF,\"['a, b.png', 'c.png']\"\r\n")

    assert read_patient_mappings([path]) == {"a, b.png": "C5", "c.png": "C5"}


def test_mappings_are_joined_when_several_files_name_one_patient(tmp_path: Path) -> None:
    first = write_mapping(tmp_path, "C47P8thinFOriginalMotic,['a.png']\n", "1.csv")
    second = write_mapping(tmp_path, "C48P8thinF,['b.png', 'a.png']\n", "2.csv")

    assert read_patient_mappings([first, second]) == {"a.png": "P8", "b.png": "P8"}


def test_mappings_are_refused_when_a_file_has_two_patients(tmp_path: Path) -> None:
    path = write_mapping(tmp_path, "C1P1T,['a.png']\nC2P2T,['a.png']\n")

    with pytest.raises(DataError, match=r"line 2: a\.png is said to come from patient P2.*P1"):
        read_patient_mappings([path])


@pytest.mark.parametrize(
    "row",
    [
        "Patient-ID,File names",
        "C1P1T",
        "C1P1T,['a.png'",
        "C1P1T,['a.png' 'b.png']",
        "C1P1T,['a.png', b.png]",
        "C1P1T,['a.png',]",
        "C1P1T,[__import__('os').getcwd()]",
        ",['a.png']",
        r"C1P1T,['a\'.png']",
        "C1P1T,['a.png'], ['b.png']",
        "C1P1T," + "[" * 200_000,
    ],
)
def test_mappings_name_file_and_line_when_a_row_is_malformed(tmp_path: Path, row: str) -> None:
    path = write_mapping(tmp_path, f"C5NThinF,['c.png']\n{row}\n")

    with pytest.raises(DataError, match=r"patientid_cellmapping_test\.csv, line 2: expected"):
        read_patient_mappings([path])


def test_mappings_can_be_printed_when_a_name_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_bytes(b"C5NThinF,['caf\xe9.png']\n")

    assert read_patient_mappings([path]) == {r"caf\udce9.png": "C5"}


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("\x1b[2J\r\n\t\0\x7f", r"\x1b[2J\r\n\t\x00\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\u202e\u2066\u200f\u061c\u2028", r"\u202e\u2066\u200f\u061c\u2028"),
        ("caf\udce9", r"caf\udce9"),
        (r"\x1b \plain", r"\x1b \plain"),
        ("café 細胞 \u200d", "café 細胞 \u200d"),
    ],
)
def test_printable_name_escapes_what_is_no_text_and_nothing_twice(name: str, printed: str) -> None:
    assert printable_name(name) == printed
    assert printable_name(printed) == printed


def test_mappings_are_refused_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_patient_mappings([tmp_path / "missing.csv"])


def test_mappings_are_refused_when_the_file_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecell_runtime.patients.MAX_MAPPING_BYTES", 8)
    path = write_mapping(tmp_path, "C5NThinF,['c.png']\n")

    with pytest.raises(DataError, match="more than 8 bytes"):
        read_patient_mappings([path])
