"""``edgecell bench``: speed, memory and right answers of artifacts, here or on a device."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edgecell.console import JsonOption
from edgecell_runtime.bench.plan import MLPERF_SECONDS, Stage
from edgecell_runtime.errors import UsageError

_MEASURING: Final = "Measuring"
_COMPARING: Final = "Comparing"
_DEVICES: Final = "Devices"


def _option(text: str, panel: str, *names: str, **limits: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **limits)


def bench(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False, help="Artifacts or runs; all of the latest run where none is named."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images, or where the run's images are now. With --device they travel."
        ),
    ] = None,
    scenarios: Annotated[
        str,
        _option("Of single_stream, offline, paced and cold, with commas between.", _MEASURING),
    ] = "single_stream,offline,cold",
    stage: Annotated[
        Stage,
        _option("model: pixels to logits. pipeline: an image file's bytes to a label.", _MEASURING),
    ] = "model",
    threads: Annotated[
        str, _option("For the engines, each measured: such as 1,2,auto.", _MEASURING)
    ] = "auto",
    engines: Annotated[
        str, _option("Such as onnxruntime,openvino; else the first that is proved.", _MEASURING)
    ] = "",
    cpus: Annotated[
        str, _option("Pin every process to these, such as 0,1.", _MEASURING, "--pin")
    ] = "",
    seconds: Annotated[
        float | None,
        _option("At least, for each artifact and scenario.", _MEASURING, min=0.01, max=3600),
    ] = None,
    queries: Annotated[
        int | None, _option("At least, likewise.", _MEASURING, min=1, max=10_000_000)
    ] = None,
    mlperf: Annotated[
        bool,
        _option(
            f"{MLPERF_SECONDS:g} s of measured queries each; warm-up and loading come on top.",
            _MEASURING,
        ),
    ] = False,
    processes: Annotated[
        int | None, _option("Of each artifact, one after another.", _MEASURING, min=1, max=100)
    ] = None,
    rate: Annotated[
        float | None, _option("Queries a second of paced.", _MEASURING, min=0.01, max=10_000)
    ] = None,
    power: Annotated[
        str, _option("Command of a power meter; it prints watts, a number a line.", _MEASURING)
    ] = "",
    seed: Annotated[int, _option("Of all orders.", _MEASURING, min=0, max=2**32 - 1)] = 0,
    compare: Annotated[
        list[Path] | None,
        _option(
            "Old artifacts, measured by turns with the new ones, or a result as JSON.", _COMPARING
        ),
    ] = None,
    fail_above: Annotated[
        float | None,
        _option("Status 1 where one is slower, and by more than this; else 1.", _COMPARING),
    ] = None,
    device: Annotated[
        list[str] | None,
        _option("ssh://user@host[:port] or adb://serial; repeatable.", _DEVICES),
    ] = None,
    fleet: Annotated[Path | None, _option("TOML file of devices.", _DEVICES)] = None,
    wheelhouse: Annotated[
        Path | None, _option("Folder of wheels for devices without a network.", _DEVICES)
    ] = None,
    venv: Annotated[
        str, _option("Virtual environment there to be used; else one is made.", _DEVICES)
    ] = "",
    python: Annotated[str, _option("Python there that makes it; else the newest.", _DEVICES)] = "",
    remote_folder: Annotated[
        str, _option("Folder there for what is copied; else the home folder.", _DEVICES)
    ] = "",
    benchmark_model: Annotated[
        Path | None, _option("LiteRT's benchmark_model for an Android device.", _DEVICES)
    ] = None,
    keep: Annotated[bool, _option("Leave what was copied on the devices.", _DEVICES)] = False,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Also write the result: .json, .csv, .md, .html or .pytest.json."),
    ] = None,
) -> None:
    """Measures artifacts by turns: latency, throughput, cold start, memory, right answers."""
    from edgecell.devices.base import DeviceSettings, Manners
    from edgecell.tasks.bench import asking, formats, showing

    formats.check_output(output)
    wishes = asking.Wishes(
        scenarios=scenarios,
        stage=stage,
        threads=threads,
        engines=engines,
        cpus=cpus,
        seconds=seconds,
        queries=queries,
        mlperf=mlperf,
        processes=processes,
        rate=rate,
        power=power,
        seed=seed,
    )
    request = asking.request_of(artifacts or (), data, wishes)
    if device or fleet is not None:
        showing.refuse_with_devices(request, compared=bool(compare))
    old = asking.old_of(compare or (), fail_above)
    common = DeviceSettings(
        "",
        "",
        python=python,
        venv=venv,
        folder=remote_folder,
        wheelhouse=wheelhouse,
        benchmark_model=benchmark_model,
    )
    if keep and not device and fleet is None:
        raise UsageError("--keep is of devices, and none is named; name one with --device.")
    devices = asking.devices_of(device or (), fleet, common)
    shown = showing.Output(output, as_json)
    if devices:
        manners = Manners(keep=keep, send_images=data is not None)
        status = showing.on_devices(devices, request, manners, shown)
    else:
        status = showing.here(request, old, shown)
    if status:
        raise typer.Exit(status)
