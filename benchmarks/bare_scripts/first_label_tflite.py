"""What a user would write for a .tflite file: ``python first_label_tflite.py MODEL IMAGE``."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

LABELS = ("Parasitized", "Uninfected")

interpreter = Interpreter(model_path=sys.argv[1])
interpreter.allocate_tensors()
(wanted,) = interpreter.get_input_details()
(answer,) = interpreter.get_output_details()
_, height, width, _ = wanted["shape"]
image = Image.open(sys.argv[2]).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
interpreter.set_tensor(wanted["index"], np.asarray(image)[np.newaxis].astype(wanted["dtype"]))
interpreter.invoke()
print(LABELS[np.argmax(interpreter.get_tensor(answer["index"]))], flush=True)

for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(line.split()[1])
