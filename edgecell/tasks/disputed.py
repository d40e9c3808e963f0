"""Images whose label somebody disputes, of a set and a table that names them."""

from pathlib import Path

from edgecell_runtime.errors import DataError
from edgecell_runtime.image_tables import disputed_names, match_names
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.wording import counted


def disputed_images(images: LabelledImages, table: Path | None) -> frozenset[str]:
    """Names of the set's images that a table calls disputed; it may name others too.

    Args:
        images: The set.
        table: A CSV; None disputes nothing.

    Raises:
        DataError: It cannot be read, or disputes images and not one of the set.
    """
    if table is None:
        return frozenset()
    names = disputed_names(table)
    found = match_names(names, [image.name for image in images], str(table))
    if names and not found:
        raise DataError(
            f"{table} disputes {counted(len(names), 'image')}, such as {min(names)}, and none of "
            f"them is in {images.location}; expected their names there, such as "
            f"{next(iter(images)).name}."
        )
    return frozenset(found.values())
