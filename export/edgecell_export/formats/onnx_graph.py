"""Small, exact changes to ONNX graphs that the converters leave to be made."""

from typing import Any, Final

INPUT: Final = "image"
OUTPUT: Final = "logits"


def name_ends(model: Any) -> None:
    """Names the input and the output; every node that uses them follows."""
    names = {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT}
    _rename(model, names)


def pixel_tensor(model: Any) -> str:
    """The image as the first layer takes it: behind a Transpose, where there is one."""
    name = INPUT
    while [node.op_type for node in _users(model, name)] == ["Transpose"]:
        name = _users(model, name)[0].output[0]
    return name


def take_pixels(model: Any) -> None:
    """Drops the image's QuantizeLinear: the graph takes uint8 pixels instead of fractions."""
    import onnx

    users = _users(model, pixel_tensor(model))
    if [node.op_type for node in users] != ["QuantizeLinear"]:
        raise ValueError(f"the image goes to {[node.op_type for node in users]}, not quantised")
    quantize = users[0]
    model.graph.node.remove(quantize)
    _rename(model, {quantize.output[0]: quantize.input[0]})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def give_float_logits(model: Any) -> None:
    """Drops the last pair of quantisation steps: the last integer kernel answers in float.

    Its sums are 32-bit integers, so rounding them to 8 bits would only make the answer coarse.
    """
    graph = model.graph
    last = next(node for node in graph.node if OUTPUT in node.output)
    if last.op_type != "DequantizeLinear":
        return
    quantize = next(node for node in graph.node if last.input[0] in node.output)
    for node in (last, quantize):
        graph.node.remove(node)
    producer = next(node for node in graph.node if quantize.input[0] in node.output)
    producer.output[list(producer.output).index(quantize.input[0])] = OUTPUT


def takes_quantised_pixels(data: bytes) -> bool:
    """Whether the image goes through a DequantizeLinear with scale 1/255 and zero point 0 only."""
    import numpy as np
    import onnx

    model = onnx.load_model_from_string(data)
    users = _users(model, pixel_tensor(model))
    if [node.op_type for node in users] != ["DequantizeLinear"]:
        return False
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    scale, zero_point = (constants[name] for name in users[0].input[1:3])
    return bool(scale == np.float32(1 / 255) and zero_point == 0)


def canonical_bytes(model: Any) -> bytes:
    """Serialises a model so that the same graph gives the same bytes in every process.

    Converters number their names from counters and hashes; here names follow the order of nodes,
    and what nothing uses or what names the converter is dropped.
    """
    import onnx

    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = {item.name: item for item in graph.initializer if item.name in used}
    names: dict[str, str] = {INPUT: INPUT, OUTPUT: OUTPUT, "": ""}
    ordered: list[Any] = []
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name in kept and name not in names:
                names[name] = f"constant_{len(ordered)}"
                ordered.append(kept[name])
        for position, name in enumerate(node.output):
            names.setdefault(name, f"tensor_{index}_{position}")
        node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    del graph.value_info[:]
    _rename(model, names)
    graph.name, graph.doc_string, model.doc_string = "edgecell", "", ""
    model.producer_name, model.producer_version = "edgecell", ""
    del model.metadata_props[:]
    for value in (*graph.input, *graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if not batch.HasField("dim_value"):
            batch.dim_param = "batch"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _users(model: Any, name: str) -> list[Any]:
    return [node for node in model.graph.node if name in node.input]


def _rename(model: Any, names: dict[str, str]) -> None:
    graph = model.graph
    for node in graph.node:
        for part in (node.input, node.output):
            for index, name in enumerate(part):
                part[index] = names.get(name, name)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
