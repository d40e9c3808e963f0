"""The models in the box: red blood cells, parasitised or not.

Their cards lie beside them. They were trained on all patients of the published cells that we have
(Rajaraman et al. 2018), and are for trying things out and for research.
"""

from pathlib import Path
from typing import Final

from edgecell_runtime.errors import ArtifactError

MODELS: Final = Path(__file__).parent / "models"
SUFFIX: Final = ".tflite"


def bundled_names() -> tuple[str, ...]:
    """The names of the models in the box, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in MODELS.glob(f"*{SUFFIX}")))


def bundled_file(name: str) -> Path:
    """The artifact of a model in the box.

    Args:
        name: Such as ``cell-nano``.

    Raises:
        ArtifactError: There is none of that name.
    """
    names = bundled_names()
    if name not in names:
        raise ArtifactError(
            f"There is no model {name!r} in the box; expected one of {', '.join(names)}."
        )
    return MODELS / f"{name}{SUFFIX}"
