"""Everything that a training can be told: one ``TrainConfig``.

A preset's recipe sets it, a TOML file says it, and options of the command line change it.
"""

from dataclasses import dataclass
from typing import Final, Literal

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "adadelta"]
ScheduleKind = Literal["constant", "cosine", "step", "plateau"]
ThresholdRule = Literal["fixed", "youden", "sensitivity"]
ClassWeights = Literal["none", "balanced"]
SplitRule = Literal["patient", "image"]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, drawn anew for each image; 0 and False change nothing.

    Black background stays black. Outside the exported graph.

    Attributes:
        flips: Whether images are mirrored, left to right and top to bottom.
        quarter_turns: Whether images are turned by 0, 90, 180 or 270 degrees.
        rotation: Largest further turn, in degrees.
        shift: Largest shift, as a share of the side.
        zoom: Largest change of size, as a share.
        shear: Largest shear angle, in degrees.
        brightness: Largest change of brightness, as a share of the value.
        contrast: Largest change of contrast, as a share.
        hue: Largest turn of the hue, in degrees.
        stain: Largest change of each stain's density, as a share (Tellez et al. 2018).
        blur: Largest standard deviation of a Gaussian blur, in pixels.
        noise: Largest standard deviation of Gaussian noise, in steps of 0-255.
    """

    flips: bool = False
    quarter_turns: bool = False
    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    stain: float = 0.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Optimizer:
    """What moves the weights.

    Attributes:
        name: Of the method.
        learning_rate: At the schedule's height; above 0.
        momentum: Of ``sgd`` and ``rmsprop``.
        weight_decay: Of kernels, decoupled, a step and times the learning rate (Loshchilov and
            Hutter 2019); 0 for none.
        clip_norm: Gradients longer than this are shortened to it, each variable's on its own; 0 for
            none.
        clip_value: Gradients are cut to plus and minus this; 0 for none.
    """

    name: OptimizerName = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes.

    Attributes:
        kind: ``constant``; ``cosine`` from its height to 0 (Loshchilov and Hutter 2017); ``step``:
            times ``factor`` every ``every`` epochs; ``plateau``: times ``factor`` after
            ``patience`` epochs without a lower validation loss.
        warmup_epochs: Over which it rises linearly from 0 first.
        factor: Of ``step`` and ``plateau``, between 0 and 1.
        every: Of ``step``, in epochs.
        patience: Of ``plateau``, in epochs.
    """

    kind: ScheduleKind = "constant"
    warmup_epochs: float = 0.0
    factor: float = 0.5
    every: int = 10
    patience: int = 5


@dataclass(frozen=True)
class Regularization:
    """What keeps weights from learning images by heart.

    Attributes:
        l1: Added to the loss: this times the sum of kernels' absolute values.
        l2: Added to the loss: this times the sum of kernels' squares.
        dropout: The rate of every Dropout layer of the model; negative leaves the model's own.
        label_smoothing: Share of each target that is spread over all labels.
    """

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = -1.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Distillation:
    """What teachers say counts beside the labels (Hinton et al. 2015).

    The teachers see the same augmented images as the net that learns from them, and the mean of
    their probabilities is its target (Beyer et al. 2022).

    Attributes:
        weight: Share of the loss that is the cross-entropy with the teachers' answers, 0-1; the
            rest is that with the labels.
        temperature: Both answers are softened by it before they are compared; above 0.
    """

    weight: float = 0.7
    temperature: float = 1.0


@dataclass(frozen=True)
class Quantization:
    """Fine-tuning of the trained net as the 8-bit integers that it is exported as.

    Attributes:
        epochs: Passes over the training images, behind the others; 0 for none.
        learning_rate: Adam's, at the height of a cosine that ends at 0; above 0.
    """

    epochs: int = 0
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class Stopping:
    """When training ends, and with which weights.

    Attributes:
        patience: Epochs without a lower validation loss after which it stops; 0 never stops early.
        keep: ``best`` keeps the weights of the epoch with the lowest validation loss, ``last`` the
            last ones.
    """

    patience: int = 0
    keep: Literal["best", "last"] = "best"


@dataclass(frozen=True)
class Decision:
    """How the positive label is decided on, chosen on the validation patients.

    Attributes:
        rule: ``fixed`` takes ``threshold``; ``youden`` the highest sensitivity + specificity - 1
            (Youden 1950); ``sensitivity`` the highest specificity at ``sensitivity`` or above.
        threshold: Of ``fixed``, 0-1.
        sensitivity: That ``sensitivity`` wants, 0-1.
        temperature: Whether a temperature is fitted (Guo et al. 2017).
    """

    rule: ThresholdRule = "youden"
    threshold: float = 0.5
    sensitivity: float = 0.95
    temperature: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what and how.

    Attributes:
        preset: Name of the preset; empty where ``model`` is given.
        model: ``path/to/model.keras`` or ``package.module:function`` of the user's own model.
        data: Folder, zip, ``.npz`` or HDF5 of labelled images; empty draws cells.
        patients: CSV that names each image's patient; empty takes them from names and mappings.
        disputed: CSV that lists images whose label is disputed; empty for none.
        positive: The positive label; empty takes ``Parasitized`` where there is that label.
        teachers: Folders of runs, or of cross-validations with the same folds, whose models teach;
            none where empty.
        size: Height and width (depth, height and width of volumes); empty takes the preset's own.
        split: ``patient`` keeps each patient in one part; ``image`` deals images one by one, as
            many published results were made, although that gives figures that are too good.
        folds: Of a cross-validation, each of which is tested on once; 0 for a single split.
        fold: The one of the folds that is tested on, from 1 on; 0 for each of them in turn.
        refit: Folder of a finished cross-validation, whose recipe is trained on all images: there
            is no validation or test part, and the figures, the temperature and the threshold are
            those of the folds' answers; empty for an ordinary training.
        seed: Of the split, the weights, the order and the augmentation.
        epochs: Passes over the training images.
        batch_size: Images a step.
        class_weights: ``balanced`` weighs each class by one over its share.
        mixed_precision: Whether to compute in float16 where that is safe.
        deterministic: Whether the same machine gives the same weights, bit for bit, at any cost.
        reestimate_averages: Whether BatchNormalization's averages are estimated anew at the end of
            every epoch (Wu and Johnson 2021).
        memory_mb: How much of the decoded images is held at once; 0 holds what half of the free
            memory takes.
    """

    preset: str = "malaria-cnn"
    model: str = ""
    data: str = ""
    patients: str = ""
    disputed: str = ""
    positive: str = ""
    teachers: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    split: SplitRule = "patient"
    folds: int = 0
    fold: int = 0
    refit: str = ""
    seed: int = 0
    epochs: int = 10
    batch_size: int = 32
    class_weights: ClassWeights = "none"
    mixed_precision: bool = False
    deterministic: bool = False
    reestimate_averages: bool = True
    memory_mb: int = 0
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    regularization: Regularization = Regularization()
    augmentation: Augmentation = Augmentation()
    distillation: Distillation = Distillation()
    quantization: Quantization = Quantization()
    stopping: Stopping = Stopping()
    decision: Decision = Decision()


SMALL_DATA: Final = Augmentation(
    flips=True,
    quarter_turns=True,
    rotation=20.0,
    shift=0.06,
    zoom=0.1,
    brightness=0.1,
    contrast=0.1,
    stain=0.05,
)
"""For some hundred images a class."""
