"""Classifies every image of a folder on all CPUs and prints what needs a second look.

python classify_folder.py malaria.tflite cells/

Exit status: 0 done, 1 failed, 3 done with some images skipped.
"""

import sys
from pathlib import Path

from edgecell_runtime import Classifier, EdgecellError, ImageError
from edgecell_runtime.images import SUFFIXES
from edgecell_runtime.threads import allowed_cpus


def main(model: str, folder: str) -> int:
    """Prints one line an image; returns the exit status."""
    paths = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        print(f"{folder} is no folder with images in it; check the path.", file=sys.stderr)
        return 1
    skipped = 0
    try:
        with Classifier.open(model, threads=1, sessions=allowed_cpus()) as classifier:
            answers = classifier.predict_many(paths, return_exceptions=True)
            for path, answer in zip(paths, answers, strict=True):
                if isinstance(answer, ImageError):
                    print(answer, file=sys.stderr)
                    skipped += 1
                    continue
                mark = "look at this one" if answer.positive else ""
                print(f"{path.name}  {answer.label}  {answer.probability:.3f}  {mark}")
    except EdgecellError as error:
        print(error, file=sys.stderr)
        return 1
    return 3 if skipped else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
