"""Trains presets at a reduced size in a process of its own, whose Keras may have another backend.

python backend_child.py FOLDER PRESET ... [--no-tensorflow] prints a
line of JSON a preset: its name, the backend, the losses of its history, whether its saved model
answers as the trained one, and the losses of a fine-tuning as integers behind it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train import feeding
from edgecell_train.config import Augmentation, Quantization, TrainConfig
from edgecell_train.fitting import LabelledPixels, Subject, fit
from edgecell_train.integer_tuning import Parts, tune
from edgecell_train.labelling import Labelling, head_of, preprocessing
from edgecell_train.presets import Preset, find_preset

LABELS = ("Parasitized", "Uninfected")
SIZE = (24, 24)


class NoTensorFlow:
    """Refuses the import, as where it is not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    keras = import_keras()
    for name in names:
        preset = find_preset(name)
        part = _images(preprocessing(preset, SIZE))
        fitted = fit(_subject(preset), part, part, lambda *_: None)
        fitted.model.save(folder / f"{name}.keras")
        again = keras.saving.load_model(folder / f"{name}.keras")
        same = np.allclose(feeding.answers(fitted.model, part), feeding.answers(again, part), 1e-5)
        losses = [fitted.kept.loss, fitted.kept.validation_loss]
        backend = keras.backend.backend()
        tuned = tune(_subject(preset), fitted, Parts(part, part), lambda *_: None).history[-1]
        line = {
            "name": name,
            "backend": backend,
            "losses": losses,
            "same": bool(same),
            "tuned": [tuned.loss, tuned.validation_loss],
        }
        print(json.dumps(line))


def _subject(preset: Preset) -> Subject:
    config = TrainConfig(
        preset=preset.name,
        epochs=1,
        batch_size=16,
        optimizer=preset.recipe.optimizer,
        augmentation=Augmentation(flips=True, rotation=10.0, brightness=0.1),
        quantization=Quantization(epochs=1),
    )
    spec = preprocessing(preset, SIZE)
    return Subject(
        preset, config, spec.shape, Labelling(LABELS, head_of(preset, LABELS, LABELS[0]))
    )


def _images(spec: PreprocessSpec) -> LabelledPixels:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, *spec.shape), np.uint8)
    return LabelledPixels(pixels, np.arange(40) % len(LABELS))


if __name__ == "__main__":
    if "--no-tensorflow" in sys.argv:
        sys.argv.remove("--no-tensorflow")
        sys.meta_path.insert(0, NoTensorFlow())  # type: ignore[arg-type]
    main()
