"""Converts a run's model with edgecell and with the plain tools, and compares the files.

``python benchmarks/export_vs_peers.py RUN --work FOLDER`` makes every conversion in a process of
its own, then measures all files by turns in one. See ``benchmarks/README.md``.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Final

import scoring
from converting import Conversions
from peer import Peer
from peer_conversions import NOTHING, PEERS
from peer_measuring import Entry, measure
from peer_table import PeerComparison, Setting, as_markdown
from turns import TurnPlan
from unseen import read_test_images

from edgecell_export.known_images import write_calibration
from edgecell_export.pixels import PixelFile
from edgecell_runtime.engines import ENGINES, Engine, engine_for
from edgecell_runtime.errors import EdgecellError
from edgecell_train.runs import Run, find_run

_ARCHIVE: Final = "nlm-cells-50px.zip"
_TOOLS: Final = ("ai-edge-quantizer", "openvino", "onnxsim", "onnxslim")


def main() -> None:
    """Compares, prints and writes."""
    options = _options()
    before = scoring.circumstances(*options.threads, tools=_TOOLS)
    try:
        run = find_run(options.run)
        options.work.mkdir(parents=True, exist_ok=True)
        comparison = compare(run, options, before)
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    text = as_markdown(comparison)
    print(text)
    scoring.write(comparison, text, options.output)


def compare(run: Run, options: argparse.Namespace, before: scoring.Circumstances) -> PeerComparison:
    """Converts, scores and measures.

    Raises:
        EdgecellError: The run or its images cannot be used.
    """
    record, work = run.record, options.work
    with run.open_images(options.data) as images:
        evidence = run.evidence(images)
        test = read_test_images(run, evidence)
        pixels = PixelFile(work / "calibration", record.preprocessing.shape)
        pixels.path.unlink(missing_ok=True)
        calibration = write_calibration(pixels, evidence, record.preprocessing, record.labels)
    conversions = Conversions(run, options.data, work, before.versions, fresh=options.fresh)
    wanted = [peer for peer in PEERS.values() if _is_wanted(peer, options.only)]
    outcomes = {peer: conversions.outcome(peer) for peer in wanted if not _missing(peer)}
    entries = [
        Entry(peer, work / peer.file, outcome, engine, calibration.count * peer.calibrated)
        for peer, outcome in outcomes.items()
        for engine in _engines(peer)
    ]
    loading = conversions.outcome(NOTHING).cost
    settings = tuple(
        Setting(threads, batch)
        for batch, threads in itertools.product(options.batch, options.threads)
    )
    plan = TurnPlan(rounds=options.rounds, warmup_rounds=options.warmup, seed=options.seed)
    return PeerComparison(
        circumstances=before,
        run=run.folder.name,
        plan=plan,
        settings=settings,
        n=len(test.truth),
        patients=len(set(test.patients) - {None}),
        source_accuracy=float((test.stored.argmax(axis=1) == test.truth).mean()),
        source_bytes=run.model_file.stat().st_size,
        loading=loading,
        calibration=(
            f"Calibration: the same {calibration.count} images of training patients for every "
            f"tool, some of them again darker and lighter: {len(pixels)} in all."
        ),
        rows=measure(entries, record, test, plan, settings),
        left_out=tuple(_uninstalled()),
    )


def _uninstalled() -> list[str]:
    """A sentence on each file that is not compared because a package is not installed."""
    sentences = [
        f"Left out: {peer.file} ({peer.tool}); not installed: {', '.join(missing)}."
        for peer in PEERS.values()
        if (missing := _missing(peer))
    ]
    if not scoring.installed("openvino"):
        files = ", ".join(peer.file for peer in PEERS.values() if peer.openvino)
        sentences.append(f"Left out: {files} in OpenVINO; not installed: openvino.")
    return sentences


def _missing(peer: Peer) -> list[str]:
    return [name for name in peer.needs if not scoring.installed(name)]


def _is_wanted(peer: Peer, words: list[str]) -> bool:
    return not words or any(word in peer.file for word in words)


def _engines(peer: Peer) -> list[Engine]:
    engines = [engine_for("tflite" if peer.file.endswith(".tflite") else "onnx")]
    if peer.openvino and scoring.installed("openvino"):
        engines.append(ENGINES["openvino"])
    return engines


def _options() -> argparse.Namespace:
    parser = scoring.run_parser(__doc__, _ARCHIVE)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the files go, and are found again"
    )
    parser.add_argument("--fresh", action="store_true", help="convert again what is there")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="files whose name has it"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--warmup", type=int, default=20, help="rounds that are not counted")
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns")
    return parser.parse_args()


if __name__ == "__main__":
    main()
