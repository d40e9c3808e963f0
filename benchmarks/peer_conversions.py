"""Every conversion that ``export_vs_peers.py`` compares: one short function a tool and recipe.

Each runs in a process of its own (``convert_one.py``), so that its memory is its own.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import stock
from peer import Job, Peer

from edgecell_export.options import ExportOptions
from edgecell_export.tensorflow import import_tensorflow

PEERS: Final[dict[str, Peer]] = {}


def register(*peers: Peer) -> None:
    """Adds peers under their file names.

    Raises:
        ValueError: A name is taken.
    """
    for peer in peers:
        if peer.file in PEERS:
            raise ValueError(f"a peer named {peer.file!r} is registered already.")
        PEERS[peer.file] = peer


def _load_alone(job: Job) -> None:
    """What every conversion that starts from Keras pays before it begins."""
    import_tensorflow()
    job.target.write_text(f"{job.model.count_params()} parameters\n")


NOTHING: Final = Peer("nothing.txt", "TensorFlow and the model, loaded", "", _load_alone)


def _edgecell(form: str, recipe: str, options: ExportOptions, job: Job) -> None:
    """``edgecell export``: prepared, converted, sealed, and compared on held-out images."""
    from edgecell_export.exporting import Exporter
    from edgecell_export.formats import CONVERTERS
    from edgecell_export.recipes import RECIPES

    source = job.run.source_model()
    with job.run.open_images(job.data) as images, tempfile.TemporaryDirectory() as folder:
        with Exporter(source, job.run.evidence(images), options) as exporter:
            written = exporter.export(CONVERTERS[form], RECIPES[recipe], Path(folder))
        job.target.write_bytes(written.path.read_bytes())


def _stock_tflite(convert: Callable[[Any], bytes], job: Job) -> None:
    job.target.write_bytes(convert(job.model))


def _stock_tflite_int8(job: Job) -> None:
    job.target.write_bytes(stock.tflite_int8(job.model, job.pixels))


def _tf2onnx(job: Job) -> None:
    stock.write_onnx(job.model, job.target)


def _keras_export(job: Job) -> None:
    job.model(job.calibration.first(1))  # Keras exports no model that was never called
    job.model.export(str(job.target), format="onnx", verbose=False)


def _onnxsim(job: Job) -> None:
    import onnx
    import onnxsim

    simplified, checked = onnxsim.simplify(str(job.base))
    if not checked:
        raise ValueError("onnxsim found that its result answers otherwise")
    onnx.save(simplified, job.target)


def _onnxslim(job: Job) -> None:
    import onnxslim

    onnxslim.slim(str(job.base), str(job.target))


def _quantize_static(job: Job, *, per_channel: bool) -> None:
    stock.write_onnx_int8(job.base, job.target, job.pixels, per_channel=per_channel)


def _quantize_preprocessed(job: Job, *, per_channel: bool) -> None:
    stock.write_onnx_int8_preprocessed(job.base, job.target, job.pixels, per_channel=per_channel)


def _quantize_dynamic(job: Job) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(job.base, job.target)


def _ai_edge_dynamic(job: Job) -> None:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(job.base), recipe.dynamic_wi8_afp32())
    tool.quantize().export_model(str(job.target), overwrite=True)


def _ai_edge_static(job: Job, *, min_max: bool) -> None:
    """Static int8; its calibration is a moving average unless it is told otherwise."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    ((signature, ends),) = Interpreter(str(job.base)).get_signature_list().items()
    images = {signature: [{ends["inputs"][0]: one} for one in stock.floats(job.pixels)]}
    tool = quantizer.Quantizer(str(job.base), recipe.static_wi8_ai8())
    if min_max:
        rules = recipe_manager.RecipeManager()
        rules.load_quantization_recipe(recipe.static_wi8_ai8())
        own = calibrator.Calibrator(job.base.read_bytes(), qsv_update_func=qsv_utils.min_max_update)
        own.calibrate(images, rules)
        ranges = own.get_model_qsvs()
    else:
        ranges = tool.calibrate(images)
    tool.quantize(ranges).export_model(str(job.target), overwrite=True)


def _register_edgecell() -> None:
    from edgecell_export.formats import CONVERTERS

    wanted = ("float32", "float16", "dynamic_int8", "static_int8")
    for form in ("onnx", "tflite"):
        for recipe in wanted:
            if recipe in CONVERTERS[form].recipes:
                register(
                    Peer(
                        f"edgecell-{recipe}{CONVERTERS[form].suffix}",
                        # With an open batch size LiteRT can be asked for 32 images too.
                        "edgecell --batch 0" if form == "tflite" else "edgecell",
                        recipe,
                        partial(_edgecell, form, recipe, ExportOptions(batch=0)),
                        calibrated=recipe == "static_int8",
                        openvino=form == "onnx" and recipe in ("float32", "static_int8"),
                    )
                )
    register(
        Peer(
            "edgecell-static_int8-x86-vnni.onnx",
            "edgecell --target x86-vnni",
            "static_int8",
            partial(_edgecell, "onnx", "static_int8", ExportOptions(target="x86-vnni")),
            calibrated=True,
        )
    )


def _register_onnx() -> None:
    plain = "tf2onnx.onnx"
    register(
        Peer(plain, "tf2onnx", "float32", _tf2onnx, openvino=True),
        Peer("keras.onnx", "Keras export", "float32", _keras_export, openvino=True),
        Peer(
            "tf2onnx-dynamic_int8.onnx",
            "tf2onnx, quantize_dynamic",
            "dynamic_int8",
            _quantize_dynamic,
            plain,
        ),
    )
    forms = [(plain, "", ())]
    for name, step in (("onnxsim", _onnxsim), ("onnxslim", _onnxslim)):
        file = f"tf2onnx-{name}.onnx"
        register(Peer(file, f"tf2onnx, {name}", "float32", step, plain, (name,)))
        forms.append((file, f"{name}, ", (name,)))
    for base, words, needs in forms:
        for per_channel in (False, True):
            name = f"{Path(base).stem}-int8{'-per-channel' if per_channel else ''}.onnx"
            tool = f"tf2onnx, {words}quantize_static{' per channel' if per_channel else ''}"
            step = partial(_quantize_static, per_channel=per_channel)
            register(Peer(name, tool, "static_int8", step, base, needs, True, not words))
    for per_channel in (False, True):
        name = f"tf2onnx-preprocessed-int8{'-per-channel' if per_channel else ''}.onnx"
        end = " per channel" if per_channel else ""
        tool = f"tf2onnx, quant_pre_process, quantize_static{end}"
        step = partial(_quantize_preprocessed, per_channel=per_channel)
        register(Peer(name, tool, "static_int8", step, plain, (), True))


def _register_tflite() -> None:
    plain, quantizer = "stock-float32.tflite", ("ai-edge-quantizer",)
    for recipe, convert in (
        ("float32", stock.tflite),
        ("float16", stock.tflite_float16),
        ("dynamic_int8", stock.tflite_dynamic),
    ):
        step = partial(_stock_tflite, convert)
        register(Peer(f"stock-{recipe}.tflite", "TFLiteConverter", recipe, step))
    register(
        Peer(
            "stock-static_int8.tflite",
            "TFLiteConverter",
            "static_int8",
            _stock_tflite_int8,
            calibrated=True,
        ),
        Peer(
            "ai-edge-dynamic_int8.tflite",
            "ai-edge-quantizer",
            "dynamic_int8",
            _ai_edge_dynamic,
            plain,
            quantizer,
        ),
    )
    for min_max in (False, True):
        name = f"ai-edge-static_int8{'-min-max' if min_max else ''}.tflite"
        tool = f"ai-edge-quantizer{', min_max_update' if min_max else ''}"
        step = partial(_ai_edge_static, min_max=min_max)
        register(Peer(name, tool, "static_int8", step, plain, quantizer, True))


_register_edgecell()
_register_onnx()
_register_tflite()
