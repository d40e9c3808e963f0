"""A user's own model is taken with its own head and size, or refused with what to do."""

import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_train.grad_cam import grad_cam
from edgecell_train.own_model import load_own_model, preset_of_own_model

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.float32)

BEGIN = """
    import keras
    from keras import layers

    def net(shape, labels, last="softmax", outputs=None, before=(layers.Rescaling(1 / 255),)):
        return keras.Sequential([
            keras.Input(shape),
            *before,
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(outputs or labels, activation=last),
        ])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, empty; what is imported from it is forgotten again."""
    known, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or str(tmp_path) in file:
            del sys.modules[name]
    assert sys.path == path


def write(here: Path, rest: str, name: str = "mine.py") -> None:
    (here / name).write_text(textwrap.dedent(BEGIN) + textwrap.dedent(rest))


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        model.save(path)
    return path


def build(last: str | None = "softmax", outputs: int = 2) -> Any:
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(outputs, activation=last),
        ]
    )


# Where it comes from


def test_function_is_called_with_shape_and_labels(here: Path) -> None:
    write(here, "def mine(shape, labels):\n    return net(shape, labels)")
    model = load_own_model("mine:mine", (9, 8, 1), 3)
    assert (model.input_shape, model.output_shape) == ((None, 9, 8, 1), (None, 3))


def test_function_is_called_with_nothing_where_it_takes_nothing(here: Path) -> None:
    write(here, "def mine():\n    return net((8, 8, 3), 2)")
    for shape in (None, (8, 8, 3)):
        assert load_own_model("mine:mine", shape, 2).input_shape == (None, 8, 8, 3)


def test_function_with_defaults_is_called_with_nothing_where_no_size_is_given(here: Path) -> None:
    write(here, "def mine(shape=(10, 10, 3), labels=2):\n    return net(shape, labels)")
    assert load_own_model("mine:mine", None, 2).input_shape == (None, 10, 10, 3)
    assert load_own_model("mine:mine", (8, 8, 3), 2).input_shape == (None, 8, 8, 3)


def test_function_is_found_in_a_package_below_the_current_folder(here: Path) -> None:
    (here / "nets").mkdir()
    write(here, "def mine():\n    return net((8, 8, 3), 2)", "nets/small.py")
    assert load_own_model("nets.small:mine", None, 2).input_shape == (None, 8, 8, 3)


def test_file_is_loaded_with_its_weights(here: Path) -> None:
    model = build()
    save(model, here / "mine.keras")
    found = load_own_model("mine.keras", None, 2)
    np.testing.assert_allclose(
        found.predict(PIXELS, verbose=0), model.predict(PIXELS, verbose=0), atol=1e-6
    )


def test_compiled_and_trained_file_is_loaded(here: Path) -> None:
    model = build()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(PIXELS, np.eye(2)[[0, 1, 0, 1, 1]], verbose=0)
    save(model, here / "mine.keras")
    assert load_own_model("mine.keras", (8, 8, 3), 2).compiled is False


def test_file_with_a_loss_of_the_users_own_is_opened(here: Path) -> None:
    keras = import_keras()

    @keras.saving.register_keras_serializable("mine")
    class Loss(keras.losses.Loss):  # type: ignore[misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    model = build()
    model.compile("adam", Loss())
    model.fit(PIXELS, np.eye(2)[[0, 1, 0, 1, 1]], verbose=0)
    save(model, here / "mine.keras")
    assert load_own_model("mine.keras", None, 2).output_shape == (None, 2)


# What it says


@pytest.mark.parametrize(
    ("last", "outputs", "labels", "head", "words"),
    [
        ("softmax", 2, 2, "softmax", "ends in softmax: its head is softmax"),
        ("softmax", 10, 10, "softmax", "ends in softmax: its head is softmax"),
        ("sigmoid", 1, 2, "sigmoid", "ends in sigmoid: its head is sigmoid"),
        ("sigmoid", 2, 2, "normalised_sigmoid", "sigmoid: its head is normalised_sigmoid"),
        ("sigmoid", 3, 3, "normalised_sigmoid", "sigmoid: its head is normalised_sigmoid"),
        (None, 2, 2, "softmax", "ends in logits, and gets a softmax"),
        (None, 1, 2, "sigmoid", "ends in logits, and gets a sigmoid"),
    ],
)
def test_head_is_the_one_of_the_models_end_and_is_told(
    here: Path, last: str | None, outputs: int, labels: int, head: str, words: str
) -> None:
    save(build(last, outputs), here / "mine.keras")
    told: list[str] = []
    preset = preset_of_own_model("mine.keras", None, labels, told.append)
    assert preset.head == head
    assert any(words in sentence for sentence in told)
    model = preset.build((8, 8, 3), labels)
    answers = model.predict(PIXELS, verbose=0)
    assert answers.shape == (5, outputs)
    assert ((answers >= 0) & (answers <= 1)).all()
    if head == "softmax":
        np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)


def test_logits_get_the_activation_and_nothing_else(here: Path) -> None:
    model = build(None, 3)
    save(model, here / "mine.keras")
    logits = model.predict(PIXELS, verbose=0)
    found = load_own_model("mine.keras", None, 3).predict(PIXELS, verbose=0)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_grad_cam_looks_into_a_file_that_ended_in_logits(here: Path) -> None:
    save(build(None, 2), here / "mine.keras")
    model = load_own_model("mine.keras", None, 2)
    maps = grad_cam(
        model, PIXELS.astype(np.uint8), np.zeros(len(PIXELS), np.int64), Head("softmax")
    )
    assert len(maps) == len(PIXELS)


@pytest.mark.parametrize(
    "ending",
    [
        "layers.Dense(2), layers.Softmax()",
        "layers.Dense(2), layers.Activation('softmax'), layers.Dropout(0.1)",
    ],
)
def test_head_is_found_where_the_activation_is_a_layer(here: Path, ending: str) -> None:
    write(
        here,
        f"""
        def mine(shape, labels):
            begin = [keras.Input(shape), layers.Rescaling(1 / 255), layers.Flatten()]
            return keras.Sequential([*begin, {ending}])
        """,
    )
    assert preset_of_own_model("mine:mine", (8, 8, 3), 2).head == "softmax"


def test_preset_has_the_size_the_name_and_the_recipe_of_the_model(here: Path) -> None:
    write(here, "def my_net(shape, labels):\n    return net((12, 8, 1), labels)")
    preset = preset_of_own_model("mine:my_net", (12, 8, 1), 2)
    assert preset.name == "my_net"
    assert preset.preprocessing.shape == (12, 8, 1)
    assert preset.preprocessing.color_mode == "L"
    assert (preset.recipe.preset, preset.recipe.model) == ("", "mine:my_net")
    assert preset.published == "mine:my_net"


@pytest.mark.parametrize(
    ("file", "name"), [("net.keras", "net"), ("a b(1).keras", "a-b-1"), ("é.keras", "model")]
)
def test_name_of_the_preset_is_one_for_files(here: Path, file: str, name: str) -> None:
    save(build(), here / file)
    assert preset_of_own_model(file, None, 2).name == name


def test_each_build_calls_the_function_again(here: Path) -> None:
    write(here, "def mine(shape, labels):\n    return net(shape, labels)")
    preset = preset_of_own_model("mine:mine", (8, 8, 3), 2)
    import_keras().utils.set_random_seed(1)
    first, second = (preset.build((8, 8, 3), 2).get_weights()[0] for _ in range(2))
    assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize(
    ("before", "warned"),
    [
        ("layers.Rescaling(1 / 255),", False),
        ("layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1),", False),
        ("layers.Normalization(mean=[100.0] * 3, variance=[400.0] * 3),", False),
        ("layers.BatchNormalization(),", False),
        ("", True),
        ("layers.Conv2D(4, 1), layers.BatchNormalization(),", True),
    ],
)
def test_model_without_scaling_at_its_beginning_is_warned_of(
    here: Path, before: str, warned: bool
) -> None:
    write(
        here,
        f"def mine(shape, labels):\n    return net(shape, labels, before=[{before}])",
    )
    told: list[str] = []
    preset_of_own_model("mine:mine", (8, 8, 3), 2, told.append)
    assert any("begins with no Rescaling" in words for words in told) is warned


def test_file_tells_that_training_goes_on_from_its_weights(here: Path) -> None:
    save(build(), here / "mine.keras")
    told: list[str] = []
    preset_of_own_model("mine.keras", None, 2, told.append)
    assert any("goes on from the weights in the file" in words for words in told)
    assert not any("Rescaling" in words for words in told)


# What is refused


def refused(text: str, shape: tuple[int, ...] | None = (8, 8, 3), labels: int = 2) -> str:
    with pytest.raises(UsageError) as caught:
        load_own_model(text, shape, labels)
    message = str(caught.value)
    assert "Train again with `edgecell train`" not in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gone.keras", "There is no file gone.keras"),
        ("net.h5", "net.h5 is no .keras file; in Python, load it and write model.save"),
        (".", "is no .keras file"),
        ("mine.py:build", "names a file; expected a module: mine:build"),
        ("nets/mine.py", "expected a module: nets.mine:function"),
        ("mine", "'mine' names no model; expected path/to/model.keras or package.module:fun"),
        ("mine:", "'mine:' names no model"),
        ("", "'' names no model"),
        ("my-net:build", "names no model"),
        ("nowhere:build", "There is no module nowhere, neither below"),
        ("nowhere.deep:build", "There is no module nowhere.deep, neither below"),
    ],
)
def test_what_names_no_model_is_refused(here: Path, text: str, words: str) -> None:
    assert words in refused(text)


def test_file_that_is_none_of_kerass_is_refused(here: Path) -> None:
    (here / "mine.keras").write_bytes(b"something else")
    assert "mine.keras cannot be loaded: " in refused("mine.keras")


def test_file_that_could_run_code_is_refused(here: Path) -> None:
    keras = import_keras()
    code = keras.layers.Lambda(lambda x: x / 255)  # written as the bytecode of a function
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), code, keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    save(model, here / "mine.keras")
    assert "it has a Lambda, which could run code" in refused("mine.keras")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "has no function mine; its functions are net."),
        ("mine = 3", "has something else than a function as mine"),
        ("def mine(a, b, c): ...", "mine:mine(a, b, c) cannot be called; expected a function of"),
        ("def mine(labels): ...", "cannot be called"),
        ("def mine(): return 1 // 0", "mine:mine() failed: ZeroDivisionError: "),
        ("def mine(): raise SystemExit(2)", "failed: SystemExit: 2 (mine.py, line "),
        ("def mine(): ...", "gave a builtins.NoneType; expected a model of Keras 3"),
        ("def mine(): return layers.Dense(2)", "Dense; expected a model of Keras 3"),
        ("import nothing_of_that_name", "Importing mine failed: ModuleNotFoundError"),
        ("1 / 0", "Importing mine failed: ZeroDivisionError: division by zero (mine.py, line "),
        ("def mine(:", "Importing mine failed: SyntaxError: "),
        ("import sys; sys.exit()", "Importing mine failed: SystemExit"),
    ],
)
def test_function_that_gives_no_model_is_refused(here: Path, source: str, words: str) -> None:
    write(here, source)
    assert words in refused("mine:mine")


def test_function_that_needs_a_size_is_refused_without_one(here: Path) -> None:
    write(here, "def mine(shape, labels):\n    return net(shape, labels)")
    assert "no size was given; say which with --size" in refused("mine:mine", None)


@pytest.mark.parametrize(
    ("made", "labels", "words"),
    [
        ("net(shape, labels, outputs=3)", 2, "(3,); for 2 labels, expected (2,), or a single sig"),
        ("net(shape, labels, 'sigmoid', 1)", 3, "(1,); for 3 labels, expected (3,)."),
        ("net(shape, labels, 'softmax', 1)", 2, "a softmax of one output, which is 1 whatever"),
        ("net(shape, labels, 'relu')", 2, "ends in relu, which gives no probabilities"),
        ("net(shape, labels, 'tanh')", 2, "_tanh, which gives no probabilities"),
        ("net((9, 8, 3), labels)", 2, "takes 9 x 8 x 3, asked for were 8 x 8 x 3"),
        ("net((8, 8, 4), labels)", 2, "takes 8 x 8 x 4; expected 1 or 3 channels"),
        ("keras.Sequential([layers.Dense(2)])", 2, "without a known input"),
        (
            "keras.Sequential([keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(),"
            " layers.Dense(2)])",
            2,
            "takes images of any size",
        ),
        ("keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3)])", 2, "(6, 6, 2)"),
        (
            "keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Softmax()])",
            192,
            "has no weights to train",
        ),
    ],
)
def test_model_that_cannot_be_trained_is_refused(
    here: Path, made: str, labels: int, words: str
) -> None:
    write(here, f"def mine(shape, labels):\n    return {made}")
    assert words in refused("mine:mine", (8, 8, 3), labels)


def test_model_of_two_inputs_or_outputs_is_refused(here: Path) -> None:
    write(
        here,
        """
        def two_in():
            images = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
            return keras.Model(images, layers.Dense(2)(layers.Flatten()(layers.Add()(images))))

        def two_out():
            image = keras.Input((8, 8, 3))
            flat = layers.Flatten()(image)
            return keras.Model(image, [layers.Dense(2)(flat), layers.Dense(2)(flat)])
        """,
    )
    assert "takes 2 inputs" in refused("mine:two_in")
    assert "gives 2 outputs" in refused("mine:two_out")


def test_model_with_a_layer_of_the_users_own_is_refused_before_training(here: Path) -> None:
    write(
        here,
        """
        @keras.saving.register_keras_serializable("mine")
        class Twice(layers.Layer):
            def call(self, x):
                return x * 2

        def mine(shape, labels):
            return net(shape, labels, before=[layers.Rescaling(1 / 255), Twice()])
        """,
    )
    words = refused("mine:mine")
    assert "cannot be opened again once it is saved" in words or "cannot be trained" in words
    assert "module" in words
