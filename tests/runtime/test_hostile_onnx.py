"""ONNX files that are sealed and hostile: external data, foreign operators, odd messages."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import artifacts, models
from support.hostile import length_claim, nested, refusal, reseal, sealed_onnx

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of, onnx_graph, protobuf
from edgecell_runtime.containers import onnx as container
from edgecell_runtime.containers.protobuf import BYTES, bytes_field, to_varint
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES

Model = onnx.ModelProto


def build(change: Callable[[Model], None]) -> bytes:
    model = onnx.load_model_from_string(models.onnx_model())
    change(model)
    return sealed_onnx(model.SerializeToString())


def outside(*, by_location: bool = True, by_entry: bool = True) -> TensorProto:
    """A tensor whose numbers lie in a file that it names."""
    tensor = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[2])
    if by_location:
        tensor.data_location = TensorProto.EXTERNAL
    if by_entry:
        tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def fair() -> TensorProto:
    tensor = numpy_helper.from_array(models.BIAS, "fair")
    tensor.data_location = TensorProto.DEFAULT  # written out, and harmless
    return tensor


def add_attribute(model: Model, **value: object) -> None:
    attribute = model.graph.node[0].attribute.add(name="extra")
    for name, content in value.items():
        field = getattr(attribute, name)
        if isinstance(content, list):
            field.extend(content)
        else:
            field.CopyFrom(content)


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[2])


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return onnx.GraphProto(name="inner", initializer=[tensor])


def graph_in_graph(tensor: TensorProto) -> onnx.GraphProto:
    node = helper.make_node("If", ["x"], ["y"], then_branch=graph_with(tensor))
    return onnx.GraphProto(name="middle", node=[node])


PLACES: dict[str, Callable[[Model, TensorProto], object]] = {
    "initializer": lambda m, t: m.graph.initializer.append(t),
    "sparse values": lambda m, t: m.graph.sparse_initializer.append(sparse(t, fair())),
    "sparse indices": lambda m, t: m.graph.sparse_initializer.append(sparse(fair(), t)),
    "t": lambda m, t: add_attribute(m, t=t),
    "tensors": lambda m, t: add_attribute(m, tensors=[fair(), t]),
    "sparse_tensor": lambda m, t: add_attribute(m, sparse_tensor=sparse(t, fair())),
    "sparse_tensors": lambda m, t: add_attribute(m, sparse_tensors=[sparse(fair(), t)]),
    "g": lambda m, t: add_attribute(m, g=graph_with(t)),
    "graphs": lambda m, t: add_attribute(m, graphs=[graph_with(fair()), graph_with(t)]),
    "graph in a graph": lambda m, t: add_attribute(m, g=graph_in_graph(t)),
}
ANYWHERE = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@ANYWHERE
def test_model_is_read_when_its_tensors_are_inside(
    tmp_path: Path, place: Callable[[Model, TensorProto], object]
) -> None:
    """What the cases below vary."""
    path = tmp_path / "fair.onnx"
    path.write_bytes(build(lambda model: void(place(model, fair()))))
    assert read_artifact(path).format == "onnx"


def void(_: object) -> None:
    """Takes what ``append`` and the like give."""


@ANYWHERE
@pytest.mark.parametrize("marks", [(True, True), (True, False), (False, True)])
def test_external_data_is_refused(
    tmp_path: Path, place: Callable[[Model, TensorProto], object], marks: tuple[bool, bool]
) -> None:
    tensor = outside(by_location=marks[0], by_entry=marks[1])
    data = build(lambda model: void(place(model, tensor)))
    assert "It has external data: a tensor whose numbers lie in" in refusal(tmp_path, data, "onnx")


def test_external_data_is_refused_when_a_merged_message_brings_it(tmp_path: Path) -> None:
    """Protocol buffers merge a second graph into the first, and a second tensor into its own."""
    second = bytes_field(7, onnx.GraphProto(initializer=[outside()]).SerializeToString())
    said = refusal(tmp_path, sealed_onnx(models.onnx_model() + second), "onnx")
    assert "It has external data" in said
    halves = bytes_field(5, fair().SerializeToString()) + bytes_field(5, b"\x70\x01")
    attribute = nested([7, 1, 5], halves)
    assert "It has external data" in refusal(
        tmp_path, sealed_onnx(models.onnx_model() + attribute), "onnx"
    )


@pytest.mark.parametrize("location", [b"\x70\x81\x80\x80\x80\x10", b"\x72\x01\x01"])
def test_external_data_is_refused_when_its_mark_is_written_oddly(
    tmp_path: Path, location: bytes
) -> None:
    """A varint of more bits than an enumeration has, and a packed one."""
    extra = nested([7, 5], location)
    assert "It has external data" in refusal(
        tmp_path, sealed_onnx(models.onnx_model() + extra), "onnx"
    )


def _training(model: Model) -> None:
    model.training_info.add().algorithm.CopyFrom(graph_with(outside()))


def _function(model: Model) -> None:
    node = helper.make_node("Constant", [], ["y"], value=outside())
    model.functions.append(helper.make_function("mine", "f", [], ["y"], [node], []))


def _domain(model: Model) -> None:
    model.graph.node[0].domain = "evil.example"


def _long_domain(model: Model) -> None:
    model.graph.node[0].domain = "com.microsoft" + " " * 100


def _inner_domain(model: Model) -> None:
    inner = onnx.GraphProto(node=[helper.make_node("Steal", [], ["y"], domain="evil.example")])
    add_attribute(model, g=inner)


def _context(model: Model) -> None:
    node = helper.make_node("EPContext", [], ["y"], domain="com.microsoft", embed_mode=0)
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_training, "It has instructions for training (training_info)"),
        (_function, "It has functions of its own"),
        (_domain, "an operator of the domain 'evil.example'"),
        (_long_domain, "an operator of the domain 'com.microsoft   "),
        (_inner_domain, "an operator of the domain 'evil.example'"),
        (_context, "It has the operator EPContext"),
    ],
)
def test_model_is_refused_when_it_asks_for_more_than_computing(
    tmp_path: Path, change: Callable[[Model], None], said: str
) -> None:
    assert said in refusal(tmp_path, build(change), "onnx")


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
def test_model_is_read_when_its_operators_are_of_standard_domains(
    tmp_path: Path, domain: str
) -> None:
    def change(model: Model) -> None:
        model.graph.node[0].domain = domain

    path = tmp_path / "fair.onnx"
    path.write_bytes(build(change))
    assert read_artifact(path).format == "onnx"


def test_graphs_nested_deeply_are_refused(tmp_path: Path) -> None:
    levels = onnx_graph.MAX_DEPTH // 3 + 2
    inner = nested([7] + [1, 5, 6] * levels, b"")
    said = refusal(tmp_path, sealed_onnx(models.onnx_model() + inner), "onnx")
    assert f"nested more than {onnx_graph.MAX_DEPTH} deep" in said


@pytest.mark.parametrize(
    "extra",
    [
        length_claim(7, (1 << 31) - 1),
        length_claim(14, 1 << 62),
        nested([7], length_claim(1, (1 << 31) - 1)),
        nested([7, 5], length_claim(9, (1 << 63) - 1)),
        nested([7], b"\x0b" * 100_000),
        nested([7], b"\xff" * 1000),
        nested([7, 1], b"\x00\x00"),
        nested([7], to_varint(1 << 32 | BYTES) + b"\0"),
        b"\x38\x01",
    ],
    ids=[
        "graph of 2 GB",
        "metadata of 2^62 bytes",
        "node of 2 GB",
        "numbers of 2^63 bytes",
        "groups",
        "endless varint",
        "field 0",
        "field number too large",
        "graph that is a number",
    ],
)
def test_malformed_message_is_refused(tmp_path: Path, extra: bytes) -> None:
    said = refusal(tmp_path, sealed_onnx(models.onnx_model() + extra), "onnx")
    assert "protocol buffer" in said or "not as in ONNX" in said or "neither TFLite nor" in said


@pytest.mark.parametrize("fields", [[], [7], [7, 1], [7, 5]])
def test_file_of_tiny_fields_is_refused_after_a_bounded_number(
    tmp_path: Path, fields: list[int]
) -> None:
    tiny = nested(fields, b"\x18\x00" * (protobuf.MAX_FIELDS + 1))
    said = refusal(tmp_path, sealed_onnx(models.onnx_model() + tiny), "onnx")
    assert "fields, which no exported model has" in said


KEY, VALUE = container.MANIFEST_KEY, artifacts.tiny_manifest("onnx").to_json()
DIGEST = container._entry(container.DIGEST_KEY, container.BLANK_DIGEST)
MARKER = container_of("onnx").seal_marker
PAIR = bytes_field(1, KEY) + bytes_field(2, VALUE)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (bytes_field(14, PAIR) * 2, "holds 2 edgecell manifests"),
        (bytes_field(14, PAIR) + DIGEST, "holds 2 edgecell digests"),
        (bytes_field(14, PAIR + bytes_field(2, b"{}")), "more than key and value"),
        (bytes_field(14, bytes_field(1, b"other") + PAIR), "more than key and value"),
        (bytes_field(14, PAIR + bytes_field(3, b"x")), "more than key and value"),
        (bytes_field(14, bytes_field(1, KEY) + b"\x10\x01"), "more than key and value"),
        (bytes_field(14, bytes_field(1, KEY)), "is not valid JSON"),
        (b"\x70\x01", "not as ONNX has it"),
        (
            bytes_field(14, PAIR) + bytes_field(14, bytes(MAX_MANIFEST_BYTES + 100)),
            "has metadata above",
        ),
        (nested([7, 16], PAIR), "holds 0 edgecell manifests"),
    ],
    ids=[
        "two manifests",
        "two digests",
        "two values",
        "two keys",
        "unknown field",
        "value that is a number",
        "no value",
        "metadata that is a number",
        "another entry that is large",
        "manifest of the graph",
    ],
)
def test_metadata_is_refused_when_it_can_be_read_in_two_ways(
    tmp_path: Path, entries: bytes, said: str
) -> None:
    data = reseal(models.onnx_model() + entries + MARKER)
    assert said in refusal(tmp_path, data, "onnx")
