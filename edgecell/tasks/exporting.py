"""Exports of a run as the commands ``export`` and ``demo`` make them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell_export.choosing import Candidate
from edgecell_export.conversion_process import ConversionProcess
from edgecell_export.exporting import Exported, Exporter, converters_for
from edgecell_export.formats.base import Converter
from edgecell_export.options import ExportOptions
from edgecell_export.recipes import RECIPES, find_recipe
from edgecell_export.speed import SpeedRatio
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder
from edgecell_train.runs import find_run

AUTO: Final = "auto"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        run: A run's folder; None takes the latest.
        form: Name of a format, or ``all``.
        recipe: Name of a recipe, or ``auto``.
        data: Where the run's images are now.
        out: Where artifacts go; None takes the run's ``exports/``.
        options: The rest.
    """

    run: Path | None
    form: str = "all"
    recipe: str = "float32"
    data: Path | None = None
    out: Path | None = None
    options: ExportOptions = ExportOptions()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Done:
    """One artifact, and what was found out on the way.

    Attributes:
        exported: The artifact.
        speed: How many times as fast as float32 it is here; None for float32.
        candidates: What ``auto`` tried; nothing where a recipe was named.
    """

    exported: Exported
    speed: SpeedRatio | None = None
    candidates: tuple[Candidate, ...] = ()


def recipe_name(recipe: str | None, quantize: str | None) -> str:
    """The recipe that ``--recipe`` or ``--quantize`` names.

    Raises:
        UsageError: Both are given, or there is none of that name.
    """
    if recipe is not None and quantize is not None:
        raise UsageError(
            f"--recipe {recipe} and --quantize {quantize} both name a recipe; expected one of the "
            "two options."
        )
    if recipe is None:
        return find_recipe(quantize or "none").name
    if recipe not in RECIPES and recipe != AUTO:
        raise UsageError(
            f"There is no recipe {recipe!r}; expected one of {', '.join(RECIPES)} or {AUTO}."
        )
    return recipe


def export_run(request: Request) -> list[Done]:
    """Exports to every format asked for that has the recipe; the others are named.

    Raises:
        EdgecellError: An export was refused; what was exported before it stays.
    """
    converters = _converters(request)
    run = find_run(request.run)
    if run.record.preprocessing.depth is not None:
        converters = _offering(request, converters, volumes=True)
    folder = request.out or run.exports
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; expected a folder to put artifacts into.")
    check_folder(folder)
    with run.open_images(request.data) as images:
        console.say(f"Exporting {console.shown(run.folder)} ...")
        evidence = run.evidence(images)
        with (
            # Started first: it imports TensorFlow while this process does.
            ConversionProcess(warm=True) as process,
            Exporter(
                run.source_model(), evidence, request.options, process, console.say
            ) as exporter,
        ):
            return [_export(exporter, one, request.recipe, folder) for one in converters]


def next_command(request: Request, done: Sequence[Done]) -> str:
    """The command that measures what was written, to be pasted."""
    arguments = [console.shown(one.exported.path) for one in done]
    if request.data is not None and request.out is None:
        # Outside a run all images would be taken, those that were trained on too.
        arguments += ["--data", str(request.data)]
    return shlex.join(["edgecell", "bench", *arguments])


def _converters(request: Request) -> list[Converter]:
    """The formats asked for that have the recipe, as far as can be said without the run."""
    if request.recipe != AUTO:
        request.options.require_fit(RECIPES[request.recipe])
    return _offering(request, converters_for(request.form), volumes=False)


def _offering(request: Request, converters: list[Converter], *, volumes: bool) -> list[Converter]:
    least = RECIPES["float32" if request.recipe == AUTO else request.recipe]
    offering = []
    for converter in converters:
        reason = converter.lacks(least, volumes=volumes)
        if reason and request.form != "all":
            raise UsageError(reason)
        if reason:
            console.warn(f"Left out: {reason}")
        else:
            offering.append(converter)
    if not offering:
        raise UsageError(f"No format has {request.recipe}; see the reasons above.")
    return offering


def _export(exporter: Exporter, converter: Converter, recipe: str, folder: Path) -> Done:
    console.say(f"  {converter.format}, {recipe} ...")
    candidates: tuple[Candidate, ...] = ()
    if recipe == AUTO:
        exported, tried = exporter.choose(converter, folder)
        candidates = tuple(tried)
    else:
        exported = exporter.export(converter, RECIPES[recipe], folder)
    speed = exporter.speed_against_float32(converter, exported)
    if speed is not None and speed.slower:
        console.warn(
            f"{exported.path.name} is slower than float32 on this machine: {speed.value:.2f} times "
            f"as fast ({speed.low:.2f} to {speed.high:.2f}). --recipe auto keeps the faster one."
        )
    for layer in exported.manifest.float_layers:
        console.say(f"  {layer.name} stays in float: {layer.reason}.")
    return Done(exported, speed, candidates)
