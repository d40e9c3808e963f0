"""Pages from templates: what a report and a comparison have in common."""

from collections.abc import Callable
from typing import Any

from edgecell_runtime.errors import MissingPartError
from edgecell_runtime.wording import counted


def render(template: str, page: object) -> str:
    """Writes a page as HTML; the same arguments give the same text.

    Args:
        template: Its file name.
        page: What it shows.

    Raises:
        MissingPartError: jinja2 is not installed.
    """
    html: str = _environment().get_template(template).render(page=page)
    return html.encode("utf-8", "backslashreplace").decode()  # file names may hold any byte


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPartError(
            "A report needs jinja2: pip install 'edgecell[train]' (Python 3.11 to 3.13)."
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgecell"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[[float], str]] = {
        "number": lambda value: f"{value:,}",
        "fraction": lambda value: f"{value:.3f}",
        "percent": lambda value: f"{value * 100:.1f} %",
        "points": lambda value: f"{value * 100:+.2f}".replace("-", "−"),  # noqa: RUF001 - a minus
        "signed": lambda value: f"{value:+.3f}".replace("-", "−"),  # noqa: RUF001
        "short": lambda value: f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}",
    }
    environment.filters.update(filters)
    environment.filters["counted"] = counted
    return environment
