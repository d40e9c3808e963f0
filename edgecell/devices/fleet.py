"""A fleet file: the devices that make one table, in TOML.

::

    [[device]]
    name = "pi5"
    url = "ssh://pi@pi5.local"
    wheelhouse = "wheels/aarch64"

    [[device]]
    name = "phone"
    url = "adb://R5CT20ABCDE"
    benchmark_model = "tools/android_aarch64_benchmark_model"

Paths of this machine are relative to the file; ``python``, ``venv``, ``folder`` are the device's.
"""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Final

from edgecell.devices.address import parse_address
from edgecell.devices.base import DeviceSettings
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import storage_errors
from edgecell_runtime.printable import printable_name

_KEYS: Final = tuple(field.name for field in fields(DeviceSettings))
_LOCAL_FOLDERS: Final = ("wheelhouse",)
_LOCAL_FILES: Final = ("ssh_config", "benchmark_model")


def read_fleet(path: Path) -> tuple[DeviceSettings, ...]:
    """Reads a fleet file.

    Raises:
        StorageError: It cannot be read.
        UsageError: There is none, or it is none; the sentence names the device and the key.
    """
    if not path.exists() or path.is_dir():
        raise UsageError(
            f"There is no fleet file {printable_name(str(path))}; expected a TOML file with a "
            "[[device]] table for each device."
        )
    with storage_errors(path, "read"):
        data = path.read_bytes()
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}. Mend it.") from error
    unknown = sorted(set(document) - {"device"})
    if unknown:
        raise UsageError(f"{path} has {_shown(unknown[0])}; expected [[device]] tables, no more.")
    tables = document.get("device")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise UsageError(f"{path} names no device; expected a [[device]] table for each.")
    fleet = tuple(_settings(path, number, table) for number, table in enumerate(tables, 1))
    names = [settings.name for settings in fleet]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} names {twice} twice; a table needs a name for each device.")
    return fleet


def _settings(path: Path, number: int, table: dict[str, object]) -> DeviceSettings:
    where = f"Device {number} of {path}"
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise UsageError(
            f"{where} has the key {_shown(unknown[0])}; expected some of {', '.join(_KEYS)}."
        )
    texts = {}
    for key, value in table.items():
        if not isinstance(value, str) or not value or printable_name(value) != value:
            raise UsageError(f"{where} has {key} = {_shown(value)}; expected a text on one line.")
        texts[key] = value
    if "url" not in texts:
        raise UsageError(f"{where} lacks the key url, such as ssh://pi@pi5.local.")
    try:
        address = parse_address(texts["url"])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    local = {
        key: _local(path.parent / texts[key], key, where)
        for key in (*_LOCAL_FOLDERS, *_LOCAL_FILES)
        if key in texts
    }
    return DeviceSettings(
        name=texts.get("name", address.host),
        url=texts["url"],
        python=texts.get("python", ""),
        venv=texts.get("venv", ""),
        folder=texts.get("folder", ""),
        wheelhouse=local.get("wheelhouse"),
        ssh_config=local.get("ssh_config"),
        benchmark_model=local.get("benchmark_model"),
    )


def _local(place: Path, key: str, where: str) -> Path:
    found = place.is_dir() if key in _LOCAL_FOLDERS else place.is_file()
    if not found:
        kind = "folder" if key in _LOCAL_FOLDERS else "file"
        raise UsageError(f"{where} names a {key} that is no {kind}: {place}.")
    return place


def _shown(value: object) -> str:
    text = printable_name(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
