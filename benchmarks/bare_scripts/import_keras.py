"""Keras and its backend, and nothing else; prints the most memory in KiB."""

from pathlib import Path

import keras

keras.ops.convert_to_tensor([0.0])
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(line.split()[1], flush=True)
