"""The same with the runtime: ``python first_label_edgecell.py MODEL IMAGE``."""

import sys
from pathlib import Path

from edgecell_runtime import Classifier

classifier = Classifier.open(sys.argv[1])
print(classifier.predict(sys.argv[2]).label, flush=True)

for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(line.split()[1])
