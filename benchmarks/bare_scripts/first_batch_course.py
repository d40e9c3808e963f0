"""How courses read a set: PIL and NumPy, one after another; ``first_batch_course.py FOLDER``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.model_selection import train_test_split

folder = Path(sys.argv[1])
images, labels = [], []
for number, name in enumerate(sorted(path.name for path in folder.iterdir())):
    for path in sorted((folder / name).glob("*.png")):
        image = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
        images.append(np.asarray(image))
        labels.append(number)
pixels, truth = np.array(images), np.array(labels)
training, testing, its_truth, _ = train_test_split(pixels, truth, test_size=0.2, random_state=0)
batch = training[:32], np.eye(2)[its_truth[:32]]
print(len(batch[0]), flush=True)
