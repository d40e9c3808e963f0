"""What the runtime rests on, and nothing else."""

import numpy
import PIL.Image

print(numpy.__name__, PIL.Image.__name__, flush=True)
