import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.benchmarks import benchmark, evaluation, latency, row
from support.pictures import encoded, gradient
from support.report_page import FIGURE, Seen, make_run

from edgecell import report_plots
from edgecell.report import render_report, write_report
from edgecell.report_pictures import png_data_uri
from edgecell_export.card import RESEARCH_USE
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import RunError
from edgecell_runtime.heads import Head, HeadKind
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.system import SystemInfo
from edgecell_train import plots as drawn_plots
from edgecell_train.explaining import HEAT
from edgecell_train.history import EpochRecord, averages_note
from edgecell_train.runs import ANSWERS, HISTORY, SPLIT, Run, csv_text
from edgecell_train.tested_runs import write_disputed

PLOT = encoded(gradient(), "PNG")


@pytest.fixture(autouse=True)
def no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of a report's time; a test that needs them asks for ``drawing``."""
    if "drawing" not in request.fixturenames:
        for name in ("decisions", "reliability"):
            monkeypatch.setattr(report_plots.decision_plots, name, lambda *_: PLOT)


@pytest.fixture
def drawing() -> None:
    """Lets plots be drawn."""


DRAWN = "These cells were drawn by the program. The figures say nothing about real blood smears."


def with_data(run: Run, **changes: object) -> Run:
    data = dataclasses.replace(run.record.data, **changes)
    return dataclasses.replace(run, record=dataclasses.replace(run.record, data=data))


def rendered(run: Run, benchmark: Benchmark | None = None) -> str:
    with open_labelled(run.folder / "images") as images:
        return render_report(run, images, benchmark)


def seen(run: Run, benchmark: Benchmark | None = None) -> Seen:
    return Seen(rendered(run, benchmark))


def measured(n: int, accuracy: float | None) -> Benchmark:
    found = None if accuracy is None else dataclasses.replace(evaluation(accuracy), n=n)
    shared = {
        "recipe": "static_int8",
        "size_bytes": 3_300_000,
        "load_ms": 12.34,
        "peak_memory_bytes": 93_000_000,
        "evaluation": found,
    }
    single = row("small.tflite", **shared, latency=LATENCY)
    offline = row("small.tflite", "offline", **shared, images_per_second=Figure(1129.4, 1e3, 2e3))
    return benchmark([single, offline], system=SYSTEM)


LATENCY = dataclasses.replace(
    latency(0.62), count=1024, median_ms=Figure(0.62, 0.61, 0.64), p90_ms=0.68, p99_ms=0.87
)
SYSTEM = SystemInfo("Some CPU", ("avx2",), 8, 2, 4_000_000_000, "Linux 6", "CPython 3.12", {})


def test_report_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path), measured(6, 0.9))
    loaded = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action")
    ]
    assert loaded
    assert all(value is not None and value.startswith("data:image/") for value in loaded)
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)


@pytest.mark.usefixtures("drawing")
def test_report_is_the_same_for_the_same_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, each=20)
    assert rendered(run) == rendered(run)


def test_report_chooses_other_samples_when_the_seed_differs(tmp_path: Path) -> None:
    run = make_run(tmp_path, each=20)
    other = dataclasses.replace(run, record=dataclasses.replace(run.record, seed=12))
    names, others = ({str(image["alt"]) for image in seen(r).pictures()} for r in (run, other))
    assert len(names) == len(others) == 16
    assert names != others


def test_report_names_the_run_its_preset_and_its_use(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path))
    assert tmp_path.name in page.text
    assert "some-preset" in page.text
    assert RESEARCH_USE in page.text


def test_report_says_first_of_all_that_cells_were_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert DRAWN not in seen(run).text
    text = seen(with_data(run, drawn=True)).text
    assert text.index(DRAWN) < text.index("accuracy")


def test_report_gives_figures_with_their_intervals(tmp_path: Path) -> None:
    text = seen(make_run(tmp_path)).text
    assert "accuracy 0.900 95 % interval 0.812 to 0.954" in text
    assert "AUC 0.970 95 % interval 0.900 to 1.000" in text
    assert "6 test images from 3 patients" in text
    assert "bootstrap over patients" in text
    assert "too good" not in text


def test_report_shows_only_the_accuracy_without_a_positive_label(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    bare = Evaluation(6, 3, FIGURE)
    record = dataclasses.replace(run.record, positive_label=None, evaluation=bare)
    text = seen(dataclasses.replace(run, record=record)).text
    assert "accuracy 0.900" in text
    assert "sensitivity" not in text


def test_report_warns_when_images_name_no_patient(tmp_path: Path) -> None:
    text = seen(make_run(tmp_path, patients=False)).text
    assert "split one by one" in text
    assert "the figures may be too good" in text
    assert "bootstrap over images" in text
    assert "bootstrap over patients" not in text


def test_report_warns_when_some_images_name_no_patient(tmp_path: Path) -> None:
    text = seen(with_data(make_run(tmp_path), without_patient=2)).text
    assert "2 images of 6 without a patient" in text
    assert "the figures may be too good" in text


def test_report_says_what_an_interval_without_width_or_of_all_means(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    evaluation = Evaluation(6, 1, Figure(1.0, 1.0, 1.0), Figure(0.5, 0.0, 1.0))
    text = seen(
        dataclasses.replace(run, record=dataclasses.replace(run.record, evaluation=evaluation))
    ).text
    assert "no certainty" in text
    assert "too few patients were tested" in text


def test_report_marks_mistakes_in_words(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path, wrong=[1]))
    wrong = "true: Parasitized model: Uninfected probability 0.901 ✗ wrong"
    assert page.text.count(wrong) == 2  # among the samples and among the mistakes
    assert page.text.count("✓ right") == 4
    assert "2 of 6 test images got a wrong label" in page.text


def test_report_shows_the_eight_surest_mistakes_first(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path, each=12, wrong=range(12)))
    text = page.text[page.text.index("The surest mistakes") :]
    shown = [float(part.split()[0]) for part in text.split("probability ")[1:9]]
    assert shown == [0.911, 0.911, 0.91, 0.91, 0.909, 0.909, 0.908, 0.908]
    assert text.count("✗ wrong") == 8
    assert "24 of 24 test images" in text


def test_report_says_so_when_there_is_no_mistake(tmp_path: Path) -> None:
    assert "No test image got a wrong label." in seen(make_run(tmp_path)).text


def test_report_counts_the_confusion_matrix(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path, each=4, wrong=[0]))
    assert page.row("true: Parasitized") == ["3 75.0 % right", "1 25.0 %"]
    assert page.row("true: Uninfected") == ["1 25.0 %", "3 75.0 % right"]


@pytest.mark.parametrize("hostile", ["<script>", '"><img src=x onerror=alert(1)>', "{{ page }}"])
def test_report_shows_hostile_labels_as_text(tmp_path: Path, hostile: str) -> None:
    run = make_run(tmp_path, labels=(hostile, "Uninfected"), wrong=[1])
    bare = seen(make_run(tmp_path / "plain", wrong=[1]))
    page = Seen(rendered(with_data(run, unreadable=(hostile,), notes=(hostile,)), measured(6, 1)))
    assert page.text.count(hostile) > 10
    assert all(name != "onerror" for _, attributes in page.tags for name in attributes)
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == [
        tag for tag, _ in bare.tags if tag == "img"
    ]


def test_report_puts_a_note_in_the_place_of_a_file_that_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "images" / "Parasitized" / "cell 1.png").unlink()
    page = seen(run)
    assert page.text.count("The file is no longer there.") == 1
    assert len(page.pictures()) == 5


def test_report_shows_no_other_file_than_the_one_that_was_tested(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "images" / "Parasitized" / "cell 1.png").write_bytes(encoded(gradient(9, 9), "PNG"))
    assert seen(run).text.count("The file has changed since.") == 1


def test_report_puts_notes_in_the_place_of_files_that_are_no_images(tmp_path: Path) -> None:
    assert seen(make_run(tmp_path, file=b"none")).text.count("The file cannot be read.") == 6


def test_report_needs_neither_images_nor_plot(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "history.png").unlink()
    page = Seen(render_report(run, None))
    assert page.text.count("The file is no longer there.") == 6
    assert "history.png are not there" in page.text
    assert not page.pictures()


def test_report_has_no_benchmark_when_none_was_run(tmp_path: Path) -> None:
    assert "Latency" not in seen(make_run(tmp_path)).text


def test_report_shows_what_was_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    page = Seen(rendered(run, measured(6, 0.85)))
    assert page.row("small.tflite") == [
        "static_int8", "litert 2.3.0", "2", "3.30", "12.3", "0.62 0.61 to 0.64", "0.68", "0.87",
        "1,129", "93", "0.850 6 images", "−5.00",  # noqa: RUF001 - a minus
    ]  # fmt: skip
    assert "Some CPU, 2 of 8 CPUs allowed, 4 GB memory, avx2; Linux 6; CPython 3.12" in page.text


@pytest.mark.parametrize(("n", "accuracy"), [(5, 0.85), (0, None)])
def test_report_gives_no_change_when_other_images_were_measured(
    tmp_path: Path, n: int, accuracy: float | None
) -> None:
    assert seen(make_run(tmp_path), measured(n, accuracy)).row("small.tflite")[-1] == "-"


def test_report_counts_the_split(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    split = (tmp_path / SPLIT).read_text().replace("P0,test", "P0,training")
    (tmp_path / SPLIT).write_text(split)
    page = seen(run)
    assert page.row("Parasitized") == [
        "1 1 patient",
        "0 0 patients",
        "2 2 patients",
        "3 3 patients",
    ]
    assert page.row("All classes") == [
        "2 1 patient",
        "0 0 patients",
        "4 2 patients",
        "6 3 patients",
    ]
    assert "No patient is in two parts." in page.text


def test_report_warns_when_a_patient_is_in_two_parts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    split = (tmp_path / SPLIT).read_text().replace("P1,test", "P1,training", 1)
    (tmp_path / SPLIT).write_text(split)
    text = seen(run).text
    assert "1 patient with images in more than one part of the split, such as P1" in text
    assert text.index("such as P1") < text.index("accuracy")
    assert "other images of these patients were trained on" in text
    assert "No patient is in two parts." not in text


def test_report_says_where_the_run_came_from(tmp_path: Path) -> None:
    unreadable = tuple(f"broken {i}.png" for i in range(12))
    page = seen(with_data(make_run(tmp_path), unreadable=unreadable, notes=("Some note.",)))
    assert page.row("Configuration") == ["epochs 7"]
    assert page.row("Seed") == ["11"]
    assert page.row("Libraries") == ["numpy 2.0.7"]
    assert page.row("Weights (SHA-256)") == ["e" * 64]
    assert page.row("Data (SHA-256)") == ["d" * 64]
    assert page.row("Notes on the data") == ["Some note."]
    (text,) = page.row("Unreadable images")
    assert text.startswith("12, left out: broken 0.png, ")
    assert text.endswith("broken 9.png and 2 more")


def test_report_says_which_epoch_was_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    fifth = dataclasses.replace(run, record=dataclasses.replace(run.record, kept_epoch=5))
    assert seen(fifth).row("Weights kept")[0].startswith("Those of epoch 5, ")


def test_report_stays_small_when_images_are_large_and_classes_many(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    labels = [f"class {i:02}" for i in range(40)]
    run = make_run(tmp_path, labels=labels, wrong=[0], file=encoded(Image.fromarray(noise), "PNG"))
    html = rendered(run)
    assert len(Seen(html).pictures()) == 32 + 8
    assert "The first 32 of 40 classes are shown." in Seen(html).text
    assert len(html.encode()) < 1_500_000


def test_report_magnifies_small_images_only(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    runs = make_run(small), make_run(large, file=encoded(gradient(100, 100), "PNG"))
    magnified = [{image.get("class") for image in seen(run).pictures()} for run in runs]
    assert magnified == [{"magnified"}, {None}]


def test_report_can_be_written_when_a_name_is_not_utf8(tmp_path: Path) -> None:
    run = with_data(make_run(tmp_path), location="/data/caf\udce9")
    assert r"/data/caf\udce9" in render_report(run, None).encode().decode()


def test_write_report_leaves_the_old_file_when_the_run_is_damaged(tmp_path: Path) -> None:
    run, target = make_run(tmp_path), tmp_path / "report.html"
    write_report(target, run, None)
    old = target.read_bytes()
    (tmp_path / ANSWERS).write_text("damaged")
    with pytest.raises(RunError):
        write_report(target, run, None)
    assert target.read_bytes() == old


def with_record(run: Run, **changes: object) -> Run:
    return dataclasses.replace(run, record=dataclasses.replace(run.record, **changes))


def plots(page: Seen) -> dict[str, str]:
    """The alternative texts of the plots, with what is drawn."""
    return {
        str(attributes["alt"]): str(attributes["src"])
        for tag, attributes in page.tags
        if tag == "img" and "line plots" in str(attributes["alt"])
    }


@pytest.mark.usefixtures("drawing")
def test_report_draws_curves_and_reliability(tmp_path: Path) -> None:
    found = plots(seen(make_run(tmp_path, wrong=[1])))
    words = ("loss and accuracy", "ROC curve", "share of right labels")
    assert len(found) == len(words)
    for word, (alt, uri) in zip(words, found.items(), strict=True):
        assert word in alt
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        image.load()
        assert image.format == "PNG"


def test_report_gives_each_figure_once_the_first_ones_large(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    more = dataclasses.replace(run.record.evaluation, f1=Figure(0.5, 0.4, 0.6), brier=FIGURE)
    page = seen(with_record(run, evaluation=more))
    assert page.row("F1") == [
        "0.500 0.400 to 0.600",
        "harmonic mean of precision and sensitivity (decided from a probability of 0.5 on)",
    ]
    assert page.row("Brier score")[0] == "0.900 0.812 to 0.954"
    assert page.text.count("95 % interval 0.812 to 0.954") == 3
    assert all(row[0] != "accuracy" for row in page.rows)


def test_report_gives_figures_without_disputed_images_beside_those_on_all(tmp_path: Path) -> None:
    run = make_run(tmp_path, wrong=[1])
    run = with_record(run, evaluation=dataclasses.replace(run.record.evaluation, precision=FIGURE))
    assert "disputed" not in seen(run).text
    write_disputed(tmp_path, ["Parasitized/cell 1.png", "Uninfected/cell 1.png", "elsewhere.png"])
    page = seen(run)
    assert "Somebody disputes the label of 2 test images" in page.text
    mistakes = page.text[page.text.index("The surest mistakes") :]
    assert mistakes.count("its label is disputed") == 2
    assert "interval 0.812 to 0.954 1.000 (1.000 to 1.000) without disputed labels" in page.text
    assert page.row("precision")[1] == "1.000 1.000 to 1.000"
    assert "an opinion and not the truth" in page.text


def test_report_says_what_the_threshold_decides(tmp_path: Path) -> None:
    run = with_record(make_run(tmp_path, each=4, wrong=[0]), threshold=0.3, threshold_rule="youden")
    text = seen(run).text
    rule = "the highest sensitivity + specificity - 1 on the validation patients"
    assert f"counts as Parasitized from a probability of 0.3 on: {rule}." in text
    assert "youden" not in text
    assert "3 of 4 that show Parasitized were found, and 1 of 4 others were taken for it" in text


def test_report_has_no_curves_of_decisions_with_more_classes_and_no_positive_label(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, labels=("ring", "schizont", "none"), wrong=[1])
    page = seen(with_record(run, positive_label=None))
    assert "Decisions" not in page.text
    assert "Do the probabilities mean what they say?" in page.text
    assert page.row("true: ring") == ["2 66.7 % right", "1 33.3 %", "0 0.0 %"]
    assert "Mean probability of the label given" in page.text


def test_report_lists_patients_the_worst_first(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path, wrong=[1]))
    text = page.text[page.text.index("Each patient") :]
    assert "3 patients of the test" in text
    assert text.index("P1 2") < text.index("P0 2") < text.index("P2 2")
    assert page.row("P1") == ["2", "1", "0.000", "0.000", "0.000", "0.500"]


def test_report_has_no_table_of_patients_when_none_is_known(tmp_path: Path) -> None:
    assert "Each patient" not in seen(make_run(tmp_path, patients=False)).text


def test_report_shows_where_the_net_looked_beside_the_image(tmp_path: Path) -> None:
    run = make_run(tmp_path, wrong=[1])
    names = np.array(["Parasitized/cell 1.png", "Uninfected/cell 0.png"])
    heat = np.zeros((2, 4, 4), np.uint8)
    heat[0, :2] = 255
    np.savez(tmp_path / HEAT, names=names, heat=heat)
    page = seen(run)
    text = page.text[page.text.index("Where the net looked") : page.text.index("Training curve")]
    assert text.index("✓ right") < text.index("✗ wrong")
    (uri,) = {
        str(image["src"])
        for image in page.pictures()
        if image["alt"] == "Where the net looked in Parasitized/cell 1.png"
    }
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), np.int64)
    redness = shown[..., 0] - shown[..., 2]
    assert redness[:30].min() > 60
    assert abs(redness[-20:]).max() < 1


def test_report_says_so_when_the_image_of_a_map_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    names = np.array(["Parasitized/cell 1.png"])
    np.savez(tmp_path / HEAT, names=names, heat=np.zeros((1, 4, 4), np.uint8))
    (tmp_path / "images" / names[0]).unlink()
    assert seen(run).text.count("The file is no longer there.") == 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_report_shows_grey_and_transparent_images_with_their_maps(
    tmp_path: Path, mode: str
) -> None:
    run = make_run(tmp_path, file=encoded(gradient().convert(mode), "PNG"))
    names = np.array(["Parasitized/cell 1.png"])
    np.savez(tmp_path / HEAT, names=names, heat=np.full((1, 4, 4), 9, np.uint8))
    page = seen(run)
    assert len(page.pictures()) == 6 + 2
    assert "cannot be read" not in page.text


def _with_uncalibrated(run: Run) -> None:
    header, *rows = (run.folder / ANSWERS).read_text().splitlines()
    columns = ",".join(f"uncalibrated({label})" for label in run.record.labels)
    (run.folder / ANSWERS).write_text(
        "\n".join([f"{header},{columns}", *(f"{row},0.75,0.25" for row in rows)])
    )


@pytest.mark.parametrize(
    ("kind", "stored", "words"),
    [
        ("normalised_sigmoid", True, "was fitted on the validation images"),
        ("normalised_sigmoid", False, "does not hold the probabilities before it"),
        ("softmax", False, "was fitted on the validation images"),
    ],
)
def test_report_shows_reliability_before_and_after_the_temperature_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: HeadKind, stored: bool, words: str
) -> None:
    drawn: list[dict[str, NDArray[np.float64]]] = []
    monkeypatch.setattr(
        report_plots.decision_plots,
        "reliability",
        lambda _truth, answers: drawn.append(answers) or PLOT,
    )
    run = with_record(make_run(tmp_path), temperature=2.0, head=Head(kind))
    if stored:
        _with_uncalibrated(run)
    assert words in seen(run).text
    before, *after = drawn[0].values()
    assert len(after) == ("fitted" in words)
    if stored:
        assert before[0].tolist() == [0.75, 0.25]
    elif after:
        # Twice the logit of 0.9 is that of 81 : 1.
        assert before[0].tolist() == pytest.approx([81 / 82, 1 / 82])


def test_report_shows_notes_on_the_training(tmp_path: Path) -> None:
    run = with_record(make_run(tmp_path), training_notes=("Some note.",))
    assert seen(run).row("Notes on the training") == ["Some note."]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "which had the lowest validation loss; BatchNormalization"),
        ({"stopping.keep": "last", "reestimate_averages": False}, "the last one"),
    ],
)
def test_report_says_why_the_epoch_was_kept(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    run = with_record(make_run(tmp_path), configuration=options, kept_epoch=1)
    (text,) = seen(run).row("Weights kept")
    assert words in text
    assert ("estimated anew" in text) == (not options)


def test_report_says_that_no_epoch_was_kept(tmp_path: Path) -> None:
    run = with_record(make_run(tmp_path), configuration={}, kept_epoch=0)
    (text,) = seen(run).row("Weights kept")
    assert text.startswith("Those that the training began with; BatchNormalization")


HISTORY_COLUMNS = [field.name for field in dataclasses.fields(EpochRecord)]


def with_history(run: Run, *records: EpochRecord) -> Run:
    rows = [dataclasses.astuple(record) for record in records]
    (run.folder / HISTORY).write_text(csv_text(HISTORY_COLUMNS, rows))
    return with_record(run, kept_epoch=len(records))


@pytest.mark.usefixtures("drawing")
def test_report_shows_the_curves_with_and_without_the_averages(tmp_path: Path) -> None:
    kept = EpochRecord(1, 0.7, 0.5, 0.6, 0.8, 0.9, 0.55)
    note = averages_note(kept)
    run = with_record(with_history(make_run(tmp_path), kept), training_notes=(note, "Another."))
    page = seen(run)
    (uri, *_) = plots(page).values()
    assert uri == png_data_uri(drawn_plots.history([kept], 1))
    assert "With and without the averages estimated anew." in page.text
    assert page.text.count("that changed the validation loss from 0.900 to 0.600") == 1
    assert page.row("Notes on the training") == ["Another."]


def test_report_says_nothing_of_the_averages_when_they_were_not_estimated(tmp_path: Path) -> None:
    text = seen(with_history(make_run(tmp_path), EpochRecord(1, 0.7, 0.5, 0.6, 0.8))).text
    assert "With and without" not in text


def test_report_warns_of_a_net_at_chance_beside_its_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert "has not learned" not in seen(run).text
    poor = dataclasses.replace(run.record.evaluation, auc=Figure(0.55, 0.41, 0.63))
    page = seen(with_record(run, evaluation=poor))
    assert "interval of its AUC, 0.410 to 0.630, includes 0.5" in page.text
    assert page.text.index("has not learned") < page.text.index("accuracy")


def test_report_says_which_figures_are_of_the_likeliest_label(tmp_path: Path) -> None:
    run = with_record(make_run(tmp_path, wrong=[1]), threshold=0.3)
    text = seen(run).text
    assert "got the right label, taking the likeliest" in text
    assert "were found (decided from a probability of 0.3 on)" in text
    assert "a column the likeliest label, whatever the threshold" in text
    assert "got a wrong label (the likeliest counts, not the decision at the threshold)" in text
    assert "Accuracy likeliest label Sensitivity at 0.3 Specificity at 0.3" in text


def test_report_speaks_of_an_own_test_part_and_not_of_lone_images(tmp_path: Path) -> None:
    run = make_run(tmp_path, patients=False)
    for file in (SPLIT, ANSWERS):
        text = (tmp_path / file).read_text()
        for i in range(3):
            text = text.replace(f"cell {i}.png", f"x_test-{i:05}")
        (tmp_path / file).write_text(text)
    text = Seen(render_report(run, None)).text
    assert "The test part is the set's own" in text
    assert "one by one" not in text


def test_report_gives_each_of_many_classes_less_room(tmp_path: Path) -> None:
    page = seen(make_run(tmp_path, labels=[str(i) for i in range(10)], wrong=[0]))
    (counts,) = [row for row in page.rows if row[0] == "7" and len(row) == 11]
    assert counts[8:10] == ["2 66.7 %", "1"]
    headings = "".join(f" {i} true: {i}" for i in range(10))
    assert headings not in page.text
    assert len(page.pictures()) == 30 + 8


def test_report_counts_one_image_of_one_patient_in_the_singular(tmp_path: Path) -> None:
    run = make_run(tmp_path, each=1)
    evaluation = dataclasses.replace(run.record.evaluation, n=1, patients=1)
    text = seen(with_record(run, evaluation=evaluation)).text
    assert "1 test image from 1 patient" in text
    for wrong in (" 1 images", " 1 patients", " 1 test images"):
        assert wrong not in text
