"""The ``edgecell`` command: its subcommands, its global options, and how it ends."""

import os
import signal
import sys
from importlib import metadata
from typing import Annotated, cast

import typer

from edgecell import console
from edgecell.commands import (
    bench,
    compare,
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

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

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


def _interrupt(_number: int, _frame: object) -> None:
    """Ends as after Ctrl-C, so that a command that is told to stop tidies up too."""
    raise KeyboardInterrupt


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Without the program's name; None takes the process's.

    Returns:
        The exit status: 0 done, 1 failed or refused, 2 wrong usage, 3 some inputs skipped.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _interrupt)
    try:
        status = app(arguments, standalone_mode=False)
    except EdgecellError as error:
        console.error(str(error))
        return error.exit_status
    except typer.TyperException as error:  # wrong usage; Typer holds a click of its own
        from typer import rich_utils  # it loads a parser of Markdown

        rich_utils.rich_format_error(cast(typer.BadParameter, error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has stopped; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        console.error(f"The operating system refused: {error}.")
        return 1
    if status == INTERRUPTED:  # Typer turns Ctrl-C into it, too
        console.error("Interrupted; no file was left half written.")
    return status if isinstance(status, int) else 0
