"""Classifies every PNG of a folder and prints what needs a second look.

python classify_folder.py malaria.tflite cells/
"""

import sys
from pathlib import Path

from edgecell_runtime import Classifier, EdgecellError, ImageError


def main(model: str, folder: str) -> int:
    """Prints one line an image; returns the exit status."""
    try:
        classifier = Classifier.open(model)
    except EdgecellError as error:
        print(error, file=sys.stderr)
        return 1
    with classifier:
        for path in sorted(Path(folder).glob("*.png")):
            try:
                prediction = classifier.predict(path)
            except ImageError as error:
                print(error, file=sys.stderr)
                continue
            mark = "look at this one" if prediction.positive else ""
            print(f"{path.name}  {prediction.label}  {prediction.probability:.3f}  {mark}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
