"""The virtual environment that is made on a device, from wheels that come along."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bench_job import stand_in_entries, write_job
from support.ssh_server import SshServer, needs_sshd
from support.ssh_visit import Visit

from edgecell.devices import payload
from edgecell.devices.base import DeviceError

pytestmark = needs_sshd

WHEELS = {
    "numpy": ("2.4.0", "numpy"),
    "pillow": ("12.0.0", "PIL"),
    "ai_edge_litert": ("2.2.0", "ai_edge_litert"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as server:
        server.start()
        yield server


@pytest.fixture
def visit(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    # Without the stubs: numpy and Pillow have to come out of the wheels.
    entries = [e for e in stand_in_entries(tmp_path / "stand-in") if "edgecell_runtime" in e.name]
    monkeypatch.setattr(payload, "runtime_entries", lambda: tuple(entries))
    visit = Visit(server, tmp_path)
    visit.settings = {"wheelhouse": write_wheels(tmp_path / "wheels", *WHEELS)}
    return visit


def write_wheels(folder: Path, *names: str) -> Path:
    """Wheels of the right names with an empty package each."""
    folder.mkdir()
    for name in names:
        version, package = WHEELS[name]
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}/__init__.py", "")
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            wheel.writestr(f"{info}/METADATA", text)
            wheel.writestr(
                f"{info}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{info}/RECORD", "")
    return folder


def test_environment_is_made_from_a_wheelhouse(visit: Visit, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    visit.run(job)
    assert visit.result().images == "drawn"
    assert "installing numpy>=2.0 and pillow>=11.0 ..." in visit.said
    assert "installing ai-edge-litert>=2.1 ..." in visit.said
    assert visit.left() == []


def test_engine_without_a_wheel_is_named_with_the_command_that_fetches_it(
    visit: Visit, tmp_path: Path
) -> None:
    visit.settings = {"wheelhouse": write_wheels(tmp_path / "few", "numpy", "pillow")}
    with pytest.raises(DeviceError) as caught:
        visit.run(write_job(tmp_path / "job"))
    words = str(caught.value)
    assert words.startswith(f"The wheelhouse {tmp_path / 'few'} lacks ai-edge-litert>=2.1 for ")
    assert "pip download --only-binary :all: --python-version 3." in words
    assert words.endswith(
        f"-d {tmp_path / 'few'} 'numpy>=2.0' 'pillow>=11.0' 'ai-edge-litert>=2.1'"
    )
    assert visit.left() == []
