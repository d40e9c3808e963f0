"""The conversions that one makes with the plain tools, from the same Keras model.

The model is taken as it was trained: its Rescaling layer is inside, so that it takes floats of 0 to
255, and it ends in sigmoids or a softmax. Nothing is folded, and no option is set but those that
the tools' own guides name. Calibration sees the images that edgecell calibrates with.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.output_capture import converter_output
from edgecell_export.tensorflow import import_keras, import_tensorflow
from edgecell_runtime.errors import ConversionError

RECIPES: Final = {
    "stock-float32.tflite": "float32",
    "stock-int8.tflite": "int8",
    "stock-float32.onnx": "float32",
    "stock-int8.onnx": "int8",
    "stock-int8-per-channel.onnx": "int8 per channel",
    "stock-int8-preprocessed.onnx": "int8",
}
"""How each of the files stores numbers."""


def convert_all(model: Any, calibration: NDArray[np.uint8], folder: Path) -> list[Path]:
    """Writes the files of ``RECIPES`` into a folder.

    Args:
        model: The trained Keras model.
        calibration: uint8 (n, height, width, channels), 0-255.
        folder: An existing folder; files of these names are replaced.

    Raises:
        ConversionError: A tool failed.
    """
    float_onnx = folder / "stock-float32.onnx"
    steps: dict[str, Callable[[Path], object]] = {
        "stock-float32.tflite": lambda path: path.write_bytes(tflite(model)),
        "stock-int8.tflite": lambda path: path.write_bytes(tflite_int8(model, calibration)),
        float_onnx.name: lambda path: write_onnx(model, path),
        "stock-int8.onnx": lambda path: write_onnx_int8(
            float_onnx, path, calibration, per_channel=False
        ),
        "stock-int8-per-channel.onnx": lambda path: write_onnx_int8(
            float_onnx, path, calibration, per_channel=True
        ),
        "stock-int8-preprocessed.onnx": lambda path: write_onnx_int8_preprocessed(
            float_onnx, path, calibration, per_channel=False
        ),
    }
    return [_written(folder / name, step) for name, step in steps.items()]


def _written(path: Path, step: Callable[[Path], object]) -> Path:
    with converter_output() as output:
        try:
            step(path)
        except Exception as error:  # noqa: BLE001 - converters raise of every kind
            failure = error
        else:
            return path
    raise ConversionError(
        f"The plain tools cannot write {path.name}: {failure!r}. They printed: {output[0]}"
    ) from failure


def floats(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """One image at a time, float32 (1, height, width, channels), 0-255."""
    for image in pixels:
        yield image[np.newaxis].astype(np.float32)


def tflite(model: Any) -> bytes:
    """TFLite as the converter makes it with nothing said."""
    converter = import_tensorflow().lite.TFLiteConverter.from_keras_model(model)
    return bytes(converter.convert())


def tflite_float16(model: Any) -> bytes:
    """Weights as 16-bit floats, as TensorFlow's guide has it."""
    tensorflow = import_tensorflow()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tensorflow.float16]
    return bytes(converter.convert())


def tflite_dynamic(model: Any) -> bytes:
    """Weights as 8-bit integers, activations quantised while running, as the guide has it."""
    tensorflow = import_tensorflow()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def tflite_int8(model: Any, calibration: NDArray[np.uint8]) -> bytes:
    """Full integer quantisation as TensorFlow's guide has it: integer kernels, uint8 at both ends.

    https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_integer_quant
    """
    tensorflow = import_tensorflow()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in floats(calibration))
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tensorflow.uint8
    converter.inference_output_type = tensorflow.uint8
    return bytes(converter.convert())


def write_onnx(model: Any, path: Path) -> None:
    """ONNX as tf2onnx makes it with nothing said."""
    import tf2onnx

    # tf2onnx 1.17 raises a KeyError on a Sequential model; this is the same graph.
    functional = import_keras().Model(model.inputs, model.outputs)
    tf2onnx.convert.from_keras(functional, output_path=str(path))


def write_onnx_int8(
    source: Path, path: Path, calibration: NDArray[np.uint8], *, per_channel: bool
) -> None:
    """``quantize_static`` with nothing else said.

    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    name = onnx.load(source).graph.input[0].name
    images = floats(calibration)

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(images, None)
            return None if image is None else {name: image}

    quantize_static(source, path, Images(), per_channel=per_channel)


def write_onnx_int8_preprocessed(
    source: Path, path: Path, calibration: NDArray[np.uint8], *, per_channel: bool
) -> None:
    """The same after ``quant_pre_process``, which ONNX Runtime's guide advises."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # Symbolic shapes need sympy, and gain nothing in a graph without branches.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        write_onnx_int8(prepared, path, calibration, per_channel=per_channel)
