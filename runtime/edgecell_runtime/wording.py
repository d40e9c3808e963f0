"""Words that many sentences share."""


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 image``, ``1,024 images``.

    Args:
        number: 0 or more.
        noun: In the singular; the plural takes an s.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
