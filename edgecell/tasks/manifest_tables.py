"""An artifact's manifest as tables that people read."""

from edgecell.console import Table
from edgecell_export.card import (
    MASKING_WORDS,
    compared_files,
    evaluation_title,
    figure_text,
    figures,
    recipe_words,
)
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Manifest, Parity, ParityLimits
from edgecell_runtime.printable import printable_name
from edgecell_runtime.signature import TensorSpec

_Rows = list[tuple[str, str]]

_HEADS = {
    "softmax": "one output a label, made probabilities by softmax",
    "normalised_sigmoid": "one output a label, each through a sigmoid, then divided by their sum",
    "sigmoid": "one output through a sigmoid",
    "probabilities": "inside the graph, which answers with one probability a label",
}


def manifest_tables(artifact: Artifact) -> list[Table]:
    """Everything that the manifest says, in the order in which people ask for it."""
    manifest = artifact.manifest
    tables = [
        _table(printable_name(artifact.path.name), _identity(artifact)),
        _signature(manifest),
        _table("From image file to probability", _processing(manifest)),
        _table("Same answers as its source? (parity)", _parity(manifest)),
        _table(evaluation_title(manifest), _evaluation(manifest)),
        _table("Where it came from", _source(manifest)),
    ]
    return [table for table in tables if table.rows]


def _table(title: str, rows: _Rows) -> Table:
    return Table(title, ("what", "value"), rows)


def _identity(artifact: Artifact) -> _Rows:
    manifest = artifact.manifest
    return [
        ("path", printable_name(str(artifact.path))),
        ("format", artifact.format),
        ("recipe", f"{manifest.recipe}: {recipe_words(manifest)}".removesuffix(": ")),
        ("size", f"{artifact.size_bytes:,} bytes"),
        ("digest (SHA-256)", artifact.digest),
        ("labels", ", ".join(manifest.labels)),
        ("positive", _decision(manifest)),
        *(("in float", f"{one.name}: {one.reason}") for one in manifest.float_layers),
        ("target", manifest.target),
        ("manifest version", str(manifest.schema_version)),
    ]


def _decision(manifest: Manifest) -> str:
    if manifest.positive_label is None:
        return "no label; the most probable one is the answer"
    return (
        f"{manifest.positive_label}, at a probability of {manifest.threshold:g} or more "
        f"(threshold: {manifest.threshold_rule})"
    )


def _signature(manifest: Manifest) -> Table:
    signature = manifest.signature
    rows = [("input", *_tensor(spec)) for spec in signature.inputs]
    rows += [("output", *_tensor(spec)) for spec in signature.outputs]
    columns = ("what", "name", "dtype", "shape", "layout", "real value of an integer q")
    return Table("Signature", columns, rows)


def _tensor(spec: TensorSpec) -> tuple[str, str, str, str, str]:
    shape = " x ".join("any" if size is None else str(size) for size in spec.shape)
    params = spec.quantization
    real = "" if params is None else f"(q - {params.zero_point}) * {params.scale:.6g}"
    return spec.name, spec.dtype, shape, spec.layout, real.replace("- -", "+ ")


def _processing(manifest: Manifest) -> _Rows:
    spec = manifest.preprocessing
    color = "RGB, three channels" if spec.color_mode == "RGB" else "grey, one channel"
    rows = [
        ("size", f"{spec.height} x {spec.width} pixels (height x width)"),
        ("colour", color),
        ("resize", f"{spec.interpolation}, with anti-aliasing; the aspect ratio is not kept"),
        ("behind transparency", f"RGB {', '.join(map(str, spec.background))}"),
        *([("masking", MASKING_WORDS)] if spec.masking == "slide" else []),
    ]
    if spec.depth is not None:
        size = f"{spec.depth} x {spec.height} x {spec.width} voxels (depth x height x width)"
        rows = [("size", size), ("colour", color), ("resize", "none: another size is refused")]
    rows += [
        ("normalisation", "inside the graph: pixels go in as 0 to 255"),
        ("head", _head(manifest.head)),
        ("temperature", _temperature(manifest.temperature)),
    ]
    return rows + _golden(manifest)


def _golden(manifest: Manifest) -> _Rows:
    golden = manifest.golden
    count = len(golden.outputs) or len(golden.probabilities)
    if not count:
        return []
    rows = [("golden answers", f"{count}, to inputs of the formula {golden.formula}")]
    if not golden.outputs:
        allowed = "not said: these answers are the source model's alone; export it again"
    elif manifest.signature.outputs[0].quantization is not None:
        allowed = f"{golden.allowed_steps} of the output's steps"
    else:
        allowed = f"{golden.allowed_difference:.2g} of a probability"
    return [*rows, ("engines may differ by", allowed)]


def _head(head: Head) -> str:
    of_label = f": the probability of {head.label}" if head.label is not None else ""
    return f"{head.kind}: {_HEADS[head.kind]}{of_label}"


def _temperature(temperature: float) -> str:
    return f"{temperature:g}" + (", which changes nothing" if temperature == 1 else "")


def _parity(manifest: Manifest) -> _Rows:
    parity = manifest.parity
    if parity is None:
        return [("compared", "no; nothing says that it answers as its source does")]
    limits = parity.limits
    rows = [
        (compared_files(manifest), f"{parity.sample:,}"),
        (
            "largest difference of a probability",
            f"{parity.largest_difference:.2g}{_allowed(limits.largest_difference, '.2g')}",
        ),
        ("mean difference", f"{parity.mean_difference:.2g}"),
        (
            "labels changed",
            f"{parity.changed_labels:.2%}{_allowed(limits.changed_labels, '.2%')}",
        ),
        ("accuracy", _accuracy_change(parity, limits)),
    ]
    if parity.probability_step is not None:
        rows.append(
            (
                "probability step",
                "one step of the output moves the probability by up to "
                f"{parity.probability_step:.3g} near the threshold",
            )
        )
    if parity.loosened:
        rows.append(("limits", "LOOSENED by hand: wider than the recipe's own"))
    return rows


def _allowed(limit: float | None, form: str) -> str:
    return "" if limit is None else f" (at most {limit:{form}} allowed)"


def _accuracy_change(parity: Parity, limits: ParityLimits) -> str:
    allowed = (
        "" if limits.accuracy_drop is None else f" (-{limits.accuracy_drop * 100:g} points allowed)"
    )
    return f"{parity.accuracy_change * 100:+.2f} points{allowed}"


def _evaluation(manifest: Manifest) -> _Rows:
    evaluation = manifest.evaluation
    if evaluation is None:
        return [("measured", "no; nothing says how often it is right")]
    people = f"{evaluation.patients:,}" if evaluation.patients else "unknown"
    return [
        ("images", f"{evaluation.n:,}"),
        ("patients", people),
        *((f"{name} (95 % interval)", figure_text(item)) for name, item in figures(evaluation)),
    ]


def _source(manifest: Manifest) -> _Rows:
    source = manifest.source
    rows: _Rows = []
    if source.drawn:
        rows.append(("data", "DRAWN CELLS, not photographs: says nothing about real blood smears"))
    rows += [(key, str(value)) for key, value in source.configuration.items()]
    rows += [("seed", str(source.seed)), ("trained", source.time)]
    rows += [("weights (SHA-256)", source.weights_sha256), ("data (SHA-256)", source.data_sha256)]
    if manifest.calibration is not None:
        calibration = manifest.calibration
        rows += [
            (
                "calibration",
                f"{calibration.count:,} training images, seed {calibration.seed}, "
                f"{calibration.ranges} ranges",
            ),
            ("calibration (SHA-256)", calibration.sha256),
        ]
    rows += [(f"version of {name}", version) for name, version in source.versions.items()]
    return [(key, value) for key, value in rows if value]
