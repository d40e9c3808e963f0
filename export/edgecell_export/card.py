"""The model card: the manifest in words, for people; it is never parsed."""

from collections.abc import Iterator
from typing import Final

from edgecell_export.operators import Operators
from edgecell_export.recipes import RECIPES
from edgecell_runtime.manifest import Evaluation, Figure, Manifest

RESEARCH_USE = (
    "Research software and no medical device. It must not be used to diagnose, nor to decide about "
    "anyone's treatment."
)

MASKING_WORDS: Final = "the slide around the cell is painted with the background, after the resize"

AT_THRESHOLD: Final = frozenset({"sensitivity", "specificity", "precision", "F1"})
"""Figures of decisions at the threshold."""


def model_card(name: str, manifest: Manifest, operators: Operators, size_bytes: int) -> str:
    """Writes the card as Markdown; the same export gives the same text.

    Args:
        name: The artifact's file name.
        manifest: What the artifact says of itself.
        operators: What it computes.
        size_bytes: Its size.
    """
    parts = [
        f"# {name}",
        RESEARCH_USE,
        _table("What it is", list(_identity(manifest, operators, size_bytes))),
        _table("Same answers as its source? (parity)", list(_parity(manifest))),
        _table(evaluation_title(manifest), list(_evaluation(manifest))),
        _table("Layers left in float", [(f.name, f.reason) for f in manifest.float_layers]),
        _table("Operators", [(f"{o.count} x {o.name}", o.dtypes) for o in operators.operators]),
        _table("Where it came from", list(_origin(manifest))),
        _use(name, manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _identity(
    manifest: Manifest, operators: Operators, size_bytes: int
) -> Iterator[tuple[str, str]]:
    spec = manifest.preprocessing
    yield "labels", ", ".join(manifest.labels)
    if manifest.positive_label is not None:
        yield (
            "positive",
            f"{manifest.positive_label} at a probability of {manifest.threshold:g} or more "
            f"({rule_words(manifest.threshold_rule, _chosen_on(manifest))})",
        )
    yield "recipe", f"{manifest.recipe}: {recipe_words(manifest)}"
    yield "made for", "any processor" if manifest.target == "any" else manifest.target
    yield "size", f"{size_bytes:,} bytes, {operators.parameters:,} parameters"
    if spec.depth is None:
        size = f"{spec.height} x {spec.width} pixels"
        yield "image", f"{size}, {spec.color_mode}, {spec.interpolation} resize"
        if spec.masking == "slide":
            yield "masking", MASKING_WORDS
    else:
        size = f"{spec.depth} x {spec.height} x {spec.width} voxels (depth x height x width)"
        yield "volume", f"{size}, {spec.color_mode}, not resized, NumPy's .npy"
    yield "head", f"{manifest.head.kind}, temperature {manifest.temperature:g}"


def recipe_words(manifest: Manifest) -> str:
    """How numbers are stored, with the layers that are left out of it."""
    recipe = RECIPES.get(manifest.recipe)
    floats = ", ".join(layer.name for layer in manifest.float_layers)
    words = "" if recipe is None else recipe.summary
    return f"{words}, but for {floats}" if floats else words


def rule_words(rule: str, chosen_on: str) -> str:
    """What chose the threshold, in words.

    Args:
        rule: As the manifest has it: ``fixed``, ``youden`` or such as ``sensitivity >= 0.95``.
        chosen_on: Such as ``the validation patients``.
    """
    where = f"on {chosen_on}"
    if rule == "youden":
        return f"the highest sensitivity + specificity - 1 {where}"
    if rule.startswith("sensitivity"):
        return f"the highest specificity at a {rule} {where}"
    return rule


def evaluation_title(manifest: Manifest) -> str:
    """The head of the figures: whose answers they are of."""
    if not _by_folds(manifest):
        return "Right answers? (source model, held-out images)"
    assert manifest.evaluation is not None
    return (
        "Right answers? (not of this model, which was trained on all images, but of "
        f"{manifest.evaluation.folds} of the same recipe in float32, each on patients that it was "
        "not trained on)"
    )


def compared_files(manifest: Manifest) -> str:
    """What kind of image files parity was measured on."""
    known = "image files (trained on, not calibrated on)"
    return known if _by_folds(manifest) else "held-out image files"


def _chosen_on(manifest: Manifest) -> str:
    if _by_folds(manifest):
        return "the answers of a cross-validation's folds"
    return f"the validation {'patients' if _by_patient(manifest) else 'images'}"


def _by_folds(manifest: Manifest) -> bool:
    """Whether the figures are those of a cross-validation, and all images were trained on."""
    return manifest.evaluation is not None and manifest.evaluation.folds is not None


def _by_patient(manifest: Manifest) -> bool:
    """Whether training, validation and test were of different patients, as far as is known."""
    known = manifest.evaluation is None or manifest.evaluation.patients > 0
    return known and manifest.source.configuration.get("split") != "image"


def _parity(manifest: Manifest) -> Iterator[tuple[str, str]]:
    parity = manifest.parity
    if parity is None:
        return
    yield compared_files(manifest), f"{parity.sample}"
    yield "largest difference of a probability", f"{parity.largest_difference:.2g}"
    yield "mean difference", f"{parity.mean_difference:.2g}"
    yield "labels changed", f"{parity.changed_labels:.2%}"
    yield "accuracy", f"{parity.accuracy_change * 100:+.2f} points"
    if parity.probability_step is not None:
        yield "one step of the output near the threshold", f"{parity.probability_step:.3f}"
    if parity.loosened:
        yield "limits", "**loosened by hand: wider than the recipe's own**"


def _evaluation(manifest: Manifest) -> Iterator[tuple[str, str]]:
    evaluation = manifest.evaluation
    if evaluation is None:
        return
    yield "images", f"{evaluation.n:,}"
    yield "patients", f"{evaluation.patients:,}" if evaluation.patients else "unknown"
    for name, figure in figures(evaluation):
        yield name + _decided_by(name, manifest), figure_text(figure)


def _decided_by(name: str, manifest: Manifest) -> str:
    """Which decision a figure is of; the accuracy is of another one than most."""
    if name == "accuracy":
        return " (of the likeliest label)"
    if name not in AT_THRESHOLD:
        return ""
    return (
        " (at each fold's own threshold)"
        if _by_folds(manifest)
        else f" (at {manifest.threshold:.3g})"
    )


def figures(evaluation: Evaluation) -> list[tuple[str, Figure]]:
    """The figures that an evaluation has, by name, in the order in which they are shown."""
    named = [
        ("accuracy", evaluation.accuracy),
        ("sensitivity", evaluation.sensitivity),
        ("specificity", evaluation.specificity),
        ("AUC", evaluation.auc),
        ("precision", evaluation.precision),
        ("F1", evaluation.f1),
        ("macro F1", evaluation.macro_f1),
        ("average precision", evaluation.average_precision),
        ("Brier score", evaluation.brier),
        ("calibration error", evaluation.calibration_error),
    ]
    return [(name, figure) for name, figure in named if figure is not None]


def figure_text(figure: Figure) -> str:
    """A figure with its 95 % interval, such as ``0.952 (0.941 to 0.962)``."""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _origin(manifest: Manifest) -> Iterator[tuple[str, str]]:
    source = manifest.source
    if source.drawn:
        yield "data", "**drawn cells, not photographs of real ones**"
    yield from ((key, str(value)) for key, value in source.configuration.items())
    yield "seed", str(source.seed)
    yield "trained", source.time
    yield "weights (SHA-256)", source.weights_sha256
    yield "data (SHA-256)", source.data_sha256
    if manifest.calibration is not None:
        calibration = manifest.calibration
        people = "patients" if _by_patient(manifest) else "images"
        of = f"other {people} than parity's" if _by_folds(manifest) else f"training {people} only"
        count = f"{calibration.count:,}, from {of}"
        yield "calibration images", f"{count}; {calibration.ranges} ranges"
    yield "libraries", ", ".join(f"{name} {version}" for name, version in source.versions.items())


def _use(name: str, manifest: Manifest) -> str:
    if manifest.format == "savedmodel":
        return f"## Use\n\n    edgecell predict --model {name} cell.png"
    decision = "" if manifest.positive_label is None else ", prediction.positive"
    return (
        "## Use\n\n"
        "    from edgecell_runtime import Classifier\n\n"
        f'    with Classifier.open("{name}") as classifier:\n'
        '        prediction = classifier.predict("cell.png")\n'
        f"        print(prediction.label, prediction.probability{decision})"
    )


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"## {title}\n\n| | |\n| --- | --- |\n{lines}"
