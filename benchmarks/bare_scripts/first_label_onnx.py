"""What a user would write for an .onnx file: ``python first_label_onnx.py MODEL IMAGE``."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

LABELS = ("Parasitized", "Uninfected")

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(wanted,) = session.get_inputs()
_, height, width, _ = wanted.shape
image = Image.open(sys.argv[2]).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
(logits,) = session.run(None, {wanted.name: np.asarray(image)[np.newaxis]})
print(LABELS[np.argmax(logits)], flush=True)

for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(line.split()[1])
