"""How courses do it: decode all images into one array, then ``model.predict`` on the batch."""

import numpy as np
from keras import Model
from PIL import Image


def labels_of(model: Model, paths: list[str]) -> list[int]:
    """The number of each image's label."""
    _, height, width, _ = model.input_shape
    images = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        images.append(np.asarray(image))
    batch = np.array(images)
    return np.argmax(model.predict(batch, verbose=0), axis=1).tolist()
