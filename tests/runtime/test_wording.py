import pytest

from edgecell_runtime.wording import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1024, "1,024 images")]
)
def test_counted_gives_the_noun_its_number(number: int, words: str) -> None:
    assert counted(number, "image") == words
