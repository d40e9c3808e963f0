"""The public data sets that can be downloaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """One file on the web and how to tell that it arrived whole.

    Attributes:
        url: Where it is.
        file_name: What it is called on disk.
        size_bytes: Its size, or ``None`` where that is not known beforehand.
        sha256: 64 lower-case hexadecimal digits.
    """

    url: str
    file_name: str
    size_bytes: int | None
    sha256: str


DATA_SETS: dict[str, Download] = {
    # 27,558 images of single red blood cells, with the patients in the file names. The publisher
    # states no hash; two third parties' records agree on this one.
    "malaria": Download(
        url="https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",
        file_name="cell_images.zip",
        size_bytes=353_452_851,
        sha256="0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
    ),
}
