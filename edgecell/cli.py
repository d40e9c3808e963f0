"""The ``edgecell`` command: its subcommands, its global options, and how it ends."""

import copy
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Annotated, Any, Final, cast

import typer
from typer.main import get_command

from edgecell import console, interrupts
from edgecell.commands import (
    bench,
    compare,
    compress,
    data,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    predict,
    presets,
    train,
)
from edgecell_runtime.errors import EdgecellError

_INTERRUPTED: Final = 130
"""What Typer ends with at Ctrl-C."""

app = typer.Typer(
    name="edgecell",
    help="Takes a small image classifier from labelled images to a device.",
    epilog="Research software and no medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("compress")(compress.compress)
app.command("bench")(bench.bench)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("inspect")(inspect.inspect)
app.command("presets")(presets.presets)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgecell {metadata.version('edgecell')}")
        raise typer.Exit


@app.callback()
def _global_options(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    console.set_quiet(quiet)


def _command() -> Any:
    """All commands, each of which takes ``--quiet`` too: people write it at the end."""
    whole: Any = get_command(app)
    (quiet,) = (option for option in whole.params if option.name == "quiet")
    for command in _commands_of(whole):
        command.params.append(_silencing(quiet))
    return whole


def _commands_of(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from _commands_of(command)
        else:
            yield command


def _silencing(option: Any) -> Any:
    """The option ``--quiet`` for a command, which knows nothing of it."""

    def silence(_context: object, _option: object, wanted: bool) -> None:
        if wanted:
            console.set_quiet(True)

    found = copy.copy(option)
    found.expose_value, found.callback = False, silence
    return found


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Without the program's name; None takes the process's.

    Returns:
        The exit status: 0 done, 1 failed or refused, 2 wrong usage, 3 some inputs skipped, 130
        after Ctrl-C, 143 after SIGTERM.
    """
    try:
        interrupts.raise_when_told()
        status = _command().main(arguments, standalone_mode=False)
    except EdgecellError as error:
        console.error(str(error))
        return interrupts.status() if interrupts.was_told() else error.exit_status
    except typer.TyperException as error:  # wrong usage; Typer holds a click of its own
        from typer import rich_utils  # it loads a parser of Markdown

        rich_utils.rich_format_error(cast(typer.BadParameter, error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has stopped; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        console.error(f"The operating system refused: {error}.")
        return 1
    except Exception:
        # Libraries turn an interrupt into errors of their own; any other error is ours, and shown.
        if not interrupts.was_told():
            raise
        status = _INTERRUPTED
    if status == _INTERRUPTED:  # Typer turns Ctrl-C into it, too
        console.error(interrupts.MESSAGE)
        return interrupts.status()
    return status if isinstance(status, int) else 0
