"""The manifest: what an artifact says of itself, version 1.

Labels, preprocessing, head, threshold, parity and origin travel inside the model file as JSON. The
keys are the fields below. Reading is strict; nothing in it differs between two exports of one run.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from edgecell_runtime import codec
from edgecell_runtime.codec import OPTIONAL, Scalar
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.heads import Head
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.printable import UNPRINTABLE
from edgecell_runtime.records import dataclass
from edgecell_runtime.signature import Signature

MAX_MANIFEST_BYTES = 1 << 20
"""A larger manifest is refused before it is parsed."""

MOST_STEPS = 2560
"""Of an output of 16 bits, 10 of 8 bits: an export allows no more, and a proof by more is none."""

MOST_DIFFERENCE = 0.2
"""Of a probability; an export allows no more."""

Format = Literal["tflite", "onnx", "savedmodel"]


@dataclass(frozen=True)
class Golden:
    """Answers to inputs made by a formula, by which an engine proves itself before its first use.

    Attributes:
        formula: Name of the formula (see ``edgecell_runtime.golden``).
        probabilities: The source model's, by input, then by label.
        outputs: The artifact's own, as its engine gave them when it was exported, by input, then by
            output: the steps of a quantised output, else real numbers. Empty in artifacts of old.
        allowed_steps: How far a quantised output may be from ``outputs``: as far as the kernels of
            the engine were from each other at the export.
        allowed_difference: How far a label's probability may be from that of ``outputs``, where
            these are real numbers.
    """

    formula: str = "ramps-1"
    probabilities: tuple[tuple[float, ...], ...] = ()
    outputs: tuple[tuple[float, ...], ...] = ()
    allowed_steps: int = 0
    allowed_difference: float = 1e-3

    def __post_init__(self) -> None:
        for rows in (self.probabilities, self.outputs):
            if len({len(row) for row in rows}) > 1:
                raise ValueError("golden answers have one number an output, each row as many.")
        if not 0 <= self.allowed_steps <= MOST_STEPS:
            raise ValueError(f"engines may be 0 to {MOST_STEPS:,} steps apart, no more.")
        if not 0 <= self.allowed_difference <= MOST_DIFFERENCE:
            raise ValueError(f"engines may be 0 to {MOST_DIFFERENCE} apart, no more.")


@dataclass(frozen=True)
class Calibration:
    """The images that set the quantisation ranges.

    Attributes:
        count: How many.
        seed: Of their selection.
        sha256: Over the images' own hashes, in order; hexadecimal.
        ranges: How ranges follow from the values that were seen: ``min-max``, ``percentile`` or
            ``mse``.
    """

    count: int
    seed: int
    sha256: str
    ranges: str = "min-max"


@dataclass(frozen=True)
class FloatLayer:
    """A layer that stays in float in an artifact of integers.

    Attributes:
        name: As the source model calls it.
        reason: Why, with figures.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class ParityLimits:
    """What a recipe allows; None where it sets no limit.

    Attributes:
        largest_difference: Of any label's probability on any image.
        changed_labels: Share of images whose label differs.
        accuracy_drop: Fraction by which accuracy may be lower.
    """

    largest_difference: float | None = None
    changed_labels: float | None = None
    accuracy_drop: float | None = None


@dataclass(frozen=True)
class Parity:
    """How far the artifact's answers are from the source model's, on held-out image files.

    Attributes:
        sample: Number of images.
        limits: What the recipe allowed.
        largest_difference: Largest difference of a probability.
        mean_difference: Mean over images of the largest difference over labels.
        changed_labels: Share of images with another label.
        accuracy_change: Artifact's accuracy minus the source model's, as a fraction.
        probability_step: How coarse the probability is near the threshold: the largest change that
            one step of a quantised output makes, over the images nearest to the threshold; None
            where outputs are not quantised.
        loosened: True where a limit was widened by hand.
    """

    sample: int
    limits: ParityLimits
    largest_difference: float
    mean_difference: float
    changed_labels: float
    accuracy_change: float
    probability_step: float | None = None
    loosened: bool = False


@dataclass(frozen=True)
class Figure:
    """A measured fraction with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Right answers on the held-out images, intervals from a bootstrap over patients.

    Attributes:
        n: Number of images.
        patients: Number of patients; 0 where images carry none (then images are resampled).
        accuracy: Share of right labels.
        sensitivity: Share of positives found at the threshold; None without a positive label.
        specificity: Share of negatives left alone at the threshold; None likewise.
        auc: Area under the ROC curve; None likewise.
        precision: Share of positive decisions that are right; None likewise, or where no image was
            decided to be positive.
        f1: Harmonic mean of precision and sensitivity; None without a positive label.
        average_precision: Precision averaged over the positives, each at its own probability as
            threshold; None likewise.
        macro_f1: Mean over the labels of the F1 of each; None where there is a positive label.
        brier: Half the squared distance of probabilities to the truth, averaged over the images;
            None in artifacts of old.
        calibration_error: How far confidence and accuracy are apart, over 15 bins of confidence;
            None in artifacts of old.
        folds: Where not this model answered but those of a cross-validation of its recipe, each on
            the patients that it was not trained on: how many. None where it answered itself.
    """

    n: int
    patients: int
    accuracy: Figure
    sensitivity: Figure | None = None
    specificity: Figure | None = None
    auc: Figure | None = None
    precision: Figure | None = field(default=None, metadata=OPTIONAL)
    f1: Figure | None = field(default=None, metadata=OPTIONAL)
    average_precision: Figure | None = field(default=None, metadata=OPTIONAL)
    macro_f1: Figure | None = field(default=None, metadata=OPTIONAL)
    brier: Figure | None = field(default=None, metadata=OPTIONAL)
    calibration_error: Figure | None = field(default=None, metadata=OPTIONAL)
    folds: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Source:
    """Where the model came from.

    Attributes:
        weights_sha256: Of the source model's weights: values, names, shapes; not of a container.
        data_sha256: Of the labelled images that it was trained and tested on.
        configuration: Preset and options of the training.
        seed: Of the training.
        versions: Library versions of the training, by library.
        time: When the training ended, ISO 8601, UTC.
        drawn: True where it was trained on drawn cells and not on real ones.
    """

    weights_sha256: str
    data_sha256: str = ""
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    drawn: bool = False


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself.

    Attributes:
        format: Of the file that carries it.
        recipe: How numbers are stored, such as ``float32`` or ``static_int8``.
        labels: In the order of the model's classes.
        signature: Inputs and outputs.
        preprocessing: What happens to pixels before the graph.
        head: How outputs become probabilities.
        source: Where the model came from.
        positive_label: The class that a positive decision means; None where there is none.
        temperature: Divides the logits before the head.
        threshold: Decision threshold on the positive label's probability.
        threshold_rule: How the threshold was chosen.
        target: The processor family it was made for.
        golden: Answers by which an engine proves itself.
        calibration: Images that set quantisation ranges; None where no range was needed.
        parity: Result of the comparison with the source model; None before it was made.
        evaluation: The source model's figures on held-out images; None where none were given.
        float_layers: Layers that stay in float where the recipe promises integers.
        schema_version: 1.
    """

    format: Format
    recipe: str
    labels: tuple[str, ...]
    signature: Signature
    preprocessing: PreprocessSpec
    head: Head
    source: Source
    positive_label: str | None = None
    temperature: float = 1.0
    threshold: float = 0.5
    threshold_rule: str = "fixed"
    target: str = "any"
    golden: Golden = Golden()
    calibration: Calibration | None = None
    parity: Parity | None = None
    evaluation: Evaluation | None = None
    float_layers: tuple[FloatLayer, ...] = ()
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError("there are at least two labels, each once.")
        if not all(label and UNPRINTABLE.search(label) is None for label in self.labels):
            raise ValueError("a label is one line of text, not empty, without control characters.")
        if self.positive_label is not None and self.positive_label not in self.labels:
            raise ValueError(f"the positive label {self.positive_label!r} is not a label.")
        if self.head.label is not None and self.head.label not in self.labels:
            raise ValueError(f"the head's label {self.head.label!r} is not a label.")
        if not 1e-6 <= self.temperature <= 1e6:  # or logits divided by it may not be finite
            raise ValueError("the temperature is between 1e-6 and 1e6.")
        if not 0 <= self.threshold <= 1:
            raise ValueError("the threshold is between 0 and 1.")

    @property
    def loosened(self) -> bool:
        """Whether a limit of parity was widened by hand."""
        return self.parity is not None and self.parity.loosened

    def to_json(self) -> bytes:
        """The manifest as UTF-8 JSON; the same manifest gives the same bytes."""
        return codec.dumps(self).encode()

    @staticmethod
    def from_json(text: bytes) -> "Manifest":
        """Reads a manifest.

        Raises:
            ManifestError: It is too large, malformed, or of an unknown version.
        """
        if len(text) > MAX_MANIFEST_BYTES:
            raise ManifestError(
                f"The manifest has {len(text):,} bytes; at most {MAX_MANIFEST_BYTES:,} are read."
            )
        return codec.loads(Manifest, text, "manifest")
