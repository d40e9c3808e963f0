"""Energy meters, on machines laid out as files."""

import dataclasses
import time
from pathlib import Path

import pytest
from support.laid_out_machine import Clock

from edgecell_runtime.bench.energy import (
    Meter,
    RaplMeter,
    energy_of,
    find_meter,
    idle_watts,
)
from edgecell_runtime.bench.power_samples import PowerIntegral, Reading, SampledMeter
from edgecell_runtime.errors import EngineError


class Told:
    """A meter that tells what the test says."""

    method = "told"

    def __init__(self, *readings: Reading) -> None:
        self._readings = iter(readings)

    def read(self) -> Reading:
        return next(self._readings)

    def close(self) -> None:
        pass


def _zone(root: Path, folder: str, name: str, microjoules: int, most: int = 999_999) -> Path:
    zone = root / "sys/class/powercap" / folder
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text(f"{most}\n")
    return zone


def _sensor(root: Path, number: int, name: str, microwatts: int) -> Path:
    folder = root / f"sys/class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "power1_input").write_text(f"{microwatts}\n")
    return folder


def _meter(root: Path, clock: Clock) -> Meter:
    meter = find_meter(root=root, clock=clock).meter
    assert meter is not None
    return meter


def test_find_meter_gives_a_reason_when_there_is_none(tmp_path: Path) -> None:
    found = find_meter(root=tmp_path)
    assert found.meter is None
    assert found.note == "not measured: this machine has neither RAPL nor an INA2xx sensor"


def test_rapl_counts_packages_and_their_memory_once(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    _zone(tmp_path, "intel-rapl:0:0", "core", 0)
    _zone(tmp_path, "intel-rapl:0:1", "dram", 0)
    _zone(tmp_path, "intel-rapl:1", "psys", 0)
    _zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    assert find_meter(root=tmp_path).note == "RAPL package-0, dram of package-0"


def test_rapl_energy_is_the_difference_of_the_counters(tmp_path: Path) -> None:
    one = _zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000, 10**9)
    two = _zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000, 10**9)
    clock = Clock()
    meter = _meter(tmp_path, clock)
    (one / "energy_uj").write_text("4000000")
    (two / "energy_uj").write_text("6000000")
    clock.now += 2
    assert meter.read() == Reading(102.0, 4.0, None)


def test_rapl_counter_that_turned_goes_on(tmp_path: Path) -> None:
    zone = _zone(tmp_path, "intel-rapl:0", "package-0", 999_990, 999_999)
    meter = _meter(tmp_path, Clock())
    (zone / "energy_uj").write_text("0")  # ten steps: 999,999 is a value of its own
    assert meter.read().joules == pytest.approx(10e-6)
    (zone / "energy_uj").write_text("999999")
    meter.read()
    (zone / "energy_uj").write_text("5")
    assert meter.read().joules == pytest.approx((10 + 999_999 + 6) / 1e6)


def test_rapl_that_only_root_may_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    read_text = Path.read_text

    def refuse(path: Path, *arguments: str, **options: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    found = find_meter(root=tmp_path)
    assert found.meter is None
    assert found.note.startswith(f"not measured: {zone / 'energy_uj'} may be read by root only")
    assert f"sudo chmod a+r {zone / 'energy_uj'}" in found.note


def test_rapl_that_disappears_is_an_error_of_ours(tmp_path: Path) -> None:
    zone = _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter({"package-0": zone}, Clock())
    (zone / "energy_uj").unlink()
    with pytest.raises(EngineError, match="energy_uj cannot be read"):
        meter.read()


def test_sensor_is_read_as_microwatts(tmp_path: Path) -> None:
    _sensor(tmp_path, 0, "cpu_thermal", 7)
    _sensor(tmp_path, 3, "ina226", 2_500_000)
    clock = Clock()
    meter = _meter(tmp_path, clock)
    try:
        assert meter.method == "ina226 (hwmon3) through hwmon"
        clock.now += 2
        assert meter.read().joules == pytest.approx(5.0)
    finally:
        meter.close()


def test_sensors_are_not_chosen_between(tmp_path: Path) -> None:
    _sensor(tmp_path, 0, "ina219", 1)
    _sensor(tmp_path, 1, "ina219", 1)
    found = find_meter(root=tmp_path)
    assert found.meter is None
    assert "which of the sensors" in found.note


def test_sensors_thread_looks_again_and_again(tmp_path: Path) -> None:
    looks = iter(range(1000))
    meter = SampledMeter("s", lambda: float(next(looks)), time.monotonic)
    meter.start(0.001)
    deadline = time.monotonic() + 30
    while meter.read().samples == 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    meter.close()
    told = meter.read().samples
    assert told is not None
    assert told > 1
    time.sleep(0.02)
    assert meter.read().samples == told  # the thread has ended


def test_sensor_that_fails_on_the_way_is_named() -> None:
    values = iter((1.0,))

    def look() -> float:
        try:
            return next(values)
        except StopIteration:
            raise OSError(5, "Input/output error") from None

    meter = SampledMeter("ina226 (hwmon3)", look, Clock())
    assert meter.sample()
    assert not meter.sample()
    with pytest.raises(EngineError, match=r"ina226 \(hwmon3\) cannot be read: .*Input/output"):
        meter.read()


def test_integral_is_trapezoidal_and_goes_on_at_the_last_power() -> None:
    clock = Clock()
    integral = PowerIntegral("it", clock)
    integral.add(1.0)
    clock.now += 2
    integral.add(3.0)
    assert integral.read(5.0) == Reading(102.0, 4.0, 2)
    clock.now += 1
    assert integral.read(5.0).joules == pytest.approx(7.0)


def test_integral_does_not_go_on_in_silence() -> None:
    clock = Clock()
    integral = PowerIntegral("it", clock)
    integral.add(1.0)
    clock.now += 5.1
    with pytest.raises(EngineError, match="it told no power for 5 s"):
        integral.read(5.0)


@pytest.mark.parametrize("watts", [-1.0, float("nan"), float("inf"), 20_000.0])
def test_integral_refuses_what_is_no_power(watts: float) -> None:
    with pytest.raises(ValueError, match="no power of a computer"):
        PowerIntegral("it", Clock()).add(watts)


def test_idle_is_the_mean_power_of_the_rest() -> None:
    meter = Told(Reading(0.0, 10.0, None), Reading(2.0, 16.0, None))
    assert idle_watts(meter, 2.0, lambda seconds: None) == pytest.approx(3.0)


def test_energy_of_a_query_is_without_idle() -> None:
    stretch = (Reading(0.0, 10.0, None), Reading(4.0, 30.0, None))
    measured = energy_of(Told(), 2.0, stretch, 1000)
    assert measured.note == "told"
    assert measured.energy is not None
    assert dataclasses.astuple(measured.energy) == pytest.approx(("told", 2.0, 3.0, 12.0))


@pytest.mark.parametrize(
    ("stretch", "note"),
    [
        ((Reading(0.0, 0.0, None), Reading(0.4, 9.0, None)), "a stretch of 0.40 s is too short"),
        ((Reading(0.0, 0.0, 5), Reading(9.0, 99.0, 14)), "told the power 9 times in 9.0 s"),
        ((Reading(0.0, 0.0, None), Reading(2.0, 4.0, None)), "was 2.00 W, which is not above"),
    ],
)
def test_energy_is_not_said_when_it_does_not_show(
    stretch: tuple[Reading, Reading], note: str
) -> None:
    measured = energy_of(Told(), 2.0, stretch, 10)
    assert measured.energy is None
    assert measured.note.startswith("not measured: ")
    assert note in measured.note
