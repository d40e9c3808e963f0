"""A prepared job, and a stand-in for the measuring: what travels, without what it measures."""

import json
from pathlib import Path

from edgecell.devices.payload import Entry
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import Job, Plan, Query, Target
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.system import describe_system

STAND_IN = """
import json, os, pathlib, sys, time
job, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
orders = json.loads((job / "inputs" / "orders.json").read_text())
document = json.loads((job / "job.json").read_text())
for number in range(orders["lines"]):
    print(json.dumps({"done": number / 1000, "words": f"query {number}"}), flush=True)
    time.sleep(orders["seconds"])
if orders["fail"]:
    raise SystemExit(orders["fail"])
if orders["fill"]:
    with (out / "fill").open("wb") as file:
        while True:
            file.write(bytes(1 << 20)); file.flush()
result = orders["result"]
result["skipped"] = [{"target": t, "reason": os.environ["PYTHONPATH"]} for t in document["targets"]]
(out / "benchmark.json").write_text(json.dumps(result))
if orders["answers"]:
    (out / "answers.npz").write_bytes(b"answers")
"""


def write_job(folder: Path, *, kind: str = "drawn", **orders: float | str | bool) -> Path:
    """A job folder whose stand-in does what the orders say."""
    (folder / "inputs").mkdir(parents=True)
    (folder / "net.tflite").write_bytes(b"net" * 1000)
    job = Job(
        targets=(Target("net.tflite", threads=1), Target(str(folder / "net.tflite"), threads=2)),
        plan=Plan(),
        queries=(Query("cell"),),
        inputs="inputs",
        kind=kind,  # type: ignore[arg-type]
    )
    (folder / "job.json").write_text(codec.dumps(job), encoding="utf-8")
    empty = Benchmark(
        describe_system(), "2026-01-01T00:00:00Z", Plan(), kind, (), (), (), None, "not measured"
    )
    defaults = {"lines": 2, "seconds": 0.0, "fail": "", "fill": False, "answers": True}
    orders_document = {**defaults, **orders, "result": codec.encode(empty)}
    (folder / "inputs" / "orders.json").write_text(json.dumps(orders_document), encoding="utf-8")
    return folder


def stand_in_entries(folder: Path) -> tuple[Entry, ...]:
    """In the runtime's place: a package that needs nothing, and stubs of what it should."""
    package = folder / "edgecell_runtime" / "bench"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(STAND_IN, encoding="utf-8")
    for place in (package, package.parent, folder / "numpy", folder / "PIL"):
        place.mkdir(exist_ok=True)
        (place / "__init__.py").write_text("", encoding="utf-8")
    return tuple(
        Entry(f"runtime/{path.relative_to(folder).as_posix()}", path)
        for path in sorted(folder.rglob("*.py"))
    )
