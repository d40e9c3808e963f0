"""The bundled models: red blood cells, parasitised or not.

Their cards lie beside them. They were trained on cells of 160 patients that Rajaraman et al.
published in 2018, and are for research only.
"""

from pathlib import Path
from typing import Final

from edgecell_runtime.errors import ArtifactError

MODELS: Final = Path(__file__).parent / "models"
SUFFIX: Final = ".tflite"


def bundled_names() -> tuple[str, ...]:
    """The names of the bundled models, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in MODELS.glob(f"[!.]*{SUFFIX}")))


def bundled_file(name: str) -> Path:
    """The artifact of a bundled model.

    Args:
        name: Such as ``cell-nano``.

    Raises:
        ArtifactError: There is none of that name.
    """
    names = bundled_names()
    if name not in names:
        raise ArtifactError(
            f"There is no bundled model {name!r}; expected one of {', '.join(names)}."
        )
    return MODELS / f"{name}{SUFFIX}"
