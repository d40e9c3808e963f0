"""What MediaPipe makes of TFLite files: run as a program of its own, it prints JSON.

A process of its own, since a MediaPipe classifier that failed can hang where it is collected.

    python mediapipe_reader.py PIXELS.npy MODEL.tflite...
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def metadata(model: bytes) -> dict[str, Any]:
    """The metadata's tables as MediaPipe's own classes read them."""
    from ai_edge_litert import schema_py_generated as tflite
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    parsed = tflite.ModelT.InitFromObj(tflite.Model.GetRootAs(model, 0))
    (number,) = [item.buffer for item in parsed.metadata if item.name == b"TFLITE_METADATA"]
    buffer = parsed.buffers[number].data.tobytes()
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
    root = schema.ModelMetadata.GetRootAs(buffer, 0)
    return dict(plain(schema.ModelMetadataT.InitFromObj(root)))


def plain(value: Any) -> Any:
    """What JSON can say; fields that are not set are left out."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items() if item is not None}
    return value


def classify(model: bytes, images: NDArray[np.uint8]) -> list[dict[str, float]]:
    """Scores by label, an entry an image."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_buffer=model))
    scores = []
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels in images:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            categories = classifier.classify(image).classifications[0].categories
            scores.append({item.category_name: item.score for item in categories})
    return scores


def main(pixels: str, *models: str) -> None:
    images = np.load(pixels)
    found = {}
    for path in map(Path, models):
        data = path.read_bytes()
        found[path.name] = {"metadata": metadata(data), "scores": classify(data, images)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
