"""What has to be installed before anything is trained."""

from importlib.util import find_spec
from typing import Final

from edgecell_runtime.errors import MissingPartError

PARTS: Final = (
    *("keras", "sklearn", "scipy", "matplotlib"),
    *("jinja2", "h5py", "tomli_w", "platformdirs"),
)
"""The packages of the extra ``train`` that training imports on its way, by their modules."""


def require_training_parts() -> None:
    """Finds out before an image is read, drawn or trained on.

    Raises:
        MissingPartError: One is not installed.
    """
    missing = [name for name in PARTS if find_spec(name) is None]
    if missing:
        raise MissingPartError(
            f"Training needs {missing[0]}, which is not installed: pip install 'edgecell[train]' "
            "(Python 3.11 to 3.13)."
        )
