from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.presets.cnn_3d import CNN_3D, build

SMALL = (8, 10, 9, 3)


@pytest.fixture(scope="module")
def small() -> Any:
    import_keras().utils.set_random_seed(1)
    return build(SMALL, 2)


def test_cnn_3d_has_its_published_parameters_at_full_size() -> None:
    # Variables that are not initialised take no memory; these would take a gigabyte.
    with import_keras().StatelessScope(initialize_variables=False):
        model = build((64, 128, 128, 3), 2)
    assert model.count_params() == 270_476_801
    assert all(weight.trainable for weight in model.weights)


def test_cnn_3d_takes_64_slices_of_128_pixels_by_itself() -> None:
    assert CNN_3D.preprocessing.shape == (64, 128, 128, 3)
    assert (CNN_3D.name, CNN_3D.recipe.preset, CNN_3D.head) == ("cnn-3d", "cnn-3d", "sigmoid")


def test_cnn_3d_has_the_layers_of_its_source(small: Any) -> None:
    convolutions = [layer for layer in small.layers if type(layer).__name__ == "Conv3D"]
    assert [(item.filters, item.kernel_size) for item in convolutions] == [
        (64, (7, 7, 7)),
        (128, (5, 5, 5)),
        (256, (3, 3, 3)),
    ]
    assert small.get_layer("convolution_1").output.shape[1:] == (8, 10, 9, 64)
    assert small.get_layer("pooling_3").output.shape[1:] == (1, 1, 1, 256)
    assert not small.compiled


@pytest.mark.parametrize("channels", [1, 3])
def test_cnn_3d_answers_with_one_probability_for_any_size(channels: int) -> None:
    model = build((9, 16, 8, channels), 2)
    volumes = np.random.default_rng(0).integers(0, 256, (2, 9, 16, 8, channels), np.uint8)
    answers = model.predict(volumes, verbose=0)
    assert answers.shape == (2, 1)
    assert ((answers > 0) & (answers < 1)).all()


def test_cnn_3d_learns_which_slices_are_bright(small: Any) -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(24) % 2
    volumes = rng.integers(0, 80, (24, *SMALL), np.uint8)
    volumes[truth == 1, :4] += 150  # the mean of a volume says nothing: the other half is brighter
    volumes[truth == 0, 4:] += 150
    optimizer = import_keras().optimizers.Adam(CNN_3D.recipe.optimizer.learning_rate)
    small.compile(optimizer=optimizer, loss="binary_crossentropy")
    small.fit(volumes[:16], truth[:16, None].astype("float32"), batch_size=4, epochs=8, verbose=0)
    answers = small.predict(volumes[16:], verbose=0)[:, 0]
    np.testing.assert_array_equal(answers > 0.5, truth[16:] == 1)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((64, 64, 3), 2, r"takes volumes, this is the shape \(64, 64, 3\).*another preset"),
        ((16, 16, 16, 2), 2, "with 1 or 3 channels"),
        ((7, 16, 16, 3), 2, "7 x 16 x 16 voxels are too small.*at least 8 a side"),
        ((256, 256, 256, 1), 2, "dense layer of 4,294,967,296 weights.*smaller size"),
        ((16, 16, 16, 3), 3, "tells two labels apart; there are 3"),
    ],
)
def test_cnn_3d_is_refused_when_it_cannot_be_built(
    shape: tuple[int, ...], labels: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(shape, labels)
