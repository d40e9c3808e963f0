"""Tools and edgecell measure one artifact by turns."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgecell import console
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.bench.results import Row
from edgecell_runtime.errors import EdgecellError
from peers import own
from peers.layers_child import LAYERS, Layer, LayerTimes
from peers.rows import Compared, LayerRow, PeerRow, agreement, ratio_with_rounding
from peers.tool import Reading, Tool, run


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: In each, everything is measured once, in an order drawn anew.
        seconds: Of each measurement.
        seed: Of the orders.
    """

    rounds: int = 8
    seconds: float = 2.0
    seed: int = 0


def compare(
    artifact: Artifact, tools: Sequence[Tool], inputs: own.Inputs, settings: Settings
) -> Compared:
    """Measures one artifact by all tools that time it, and by edgecell.

    Raises:
        EdgecellError: Not even edgecell can measure it.
    """
    comparison = _Comparison(artifact, inputs, settings)
    for engine in own.installed_engines(artifact):
        comparison.add_engine(engine, [tool for tool in tools if engine in tool.engines])
    comparison.measure()
    return comparison.result()


class _Engine:
    """What was found in one engine."""

    def __init__(self, name: str, first: Mapping[Layer, LayerTimes]) -> None:
        self.name = name
        self.query_ms = first["session"].median_ms
        self.bench: list[Row] = []
        self.layers: list[Mapping[Layer, LayerTimes]] = []
        self.readings: dict[str, list[Reading]] = {}


class _Comparison:
    """One artifact, as far as it is measured."""

    def __init__(self, artifact: Artifact, inputs: own.Inputs, settings: Settings) -> None:
        self._artifact, self._inputs, self._settings = artifact, inputs, settings
        self._engines: list[_Engine] = []
        self._tools: dict[str, Tool] = {}
        self._left_out: list[str] = []
        self._measures: list[Callable[[], None]] = []

    def add_engine(self, name: str, tools: Sequence[Tool]) -> None:
        """Takes one in, with a short look at how long a query takes."""
        short = min(self._settings.seconds, 0.2)
        try:
            first = own.layers(self._artifact, name, self._inputs, short)
        except EdgecellError as error:
            self._left_out.append(f"{self._artifact.path.name} in {name}: {error}")
            return
        engine = _Engine(name, first)
        self._engines.append(engine)
        self._measures += [partial(self._bench, engine), partial(self._layers, engine)]
        for tool in tools:
            if tool.find() is not None:
                self._tools[tool.name] = tool
                engine.readings[tool.name] = []
                self._measures.append(partial(self._tool, tool, engine))

    def measure(self) -> None:
        """All rounds."""
        generator = np.random.default_rng(self._settings.seed)
        for turn in range(self._settings.rounds):
            console.say(f"{self._artifact.path.name}: round {turn + 1} of {self._settings.rounds}")
            for place in generator.permutation(len(self._measures)).tolist():
                self._measures[place]()

    def result(self) -> Compared:
        """The rows of what was measured in every round."""
        rows = [
            _peer_row(self._tools[name], engine, readings, self._artifact.path.name)
            for engine in self._engines
            for name, readings in engine.readings.items()
        ]
        found = [_layer_row(engine, self._artifact.path.name) for engine in self._engines]
        return Compared(tuple(rows), tuple(found), tuple(self._left_out))

    def _bench(self, engine: _Engine) -> None:
        seconds = self._settings.seconds
        engine.bench.append(own.bench_row(self._artifact, engine.name, self._inputs, seconds))

    def _layers(self, engine: _Engine) -> None:
        each = self._settings.seconds / 2  # three of them
        engine.layers.append(own.layers(self._artifact, engine.name, self._inputs, each))

    def _tool(self, tool: Tool, engine: _Engine) -> None:
        if tool.name not in engine.readings:  # it failed before
            return
        seconds = self._settings.seconds
        trial = own.trial_of(self._artifact, engine.name, self._inputs, seconds, engine.query_ms)
        try:
            engine.readings[tool.name].append(run(tool, trial))
        except EdgecellError as error:
            del engine.readings[tool.name]
            self._left_out.append(f"{self._artifact.path.name} in {engine.name}: {error}")


def missing(tools: Sequence[Tool]) -> tuple[str, ...]:
    """A sentence on each tool that is not installed."""
    return tuple(f"Not installed: {tool.name}." for tool in tools if tool.find() is None)


def _peer_row(tool: Tool, engine: _Engine, readings: Sequence[Reading], artifact: str) -> PeerRow:
    by_mean = any(reading.median_ms is None for reading in readings)
    theirs = [_figure(reading, by_mean=by_mean) for reading in readings]
    layers = [found[tool.layer] for found in engine.layers]
    latencies = [row.latency for row in engine.bench if row.latency]
    if by_mean:
        ours = [layer.mean_ms for layer in layers]
        bench = [latency.mean_ms for latency in latencies]
    else:
        ours = [layer.median_ms for layer in layers]
        bench = [latency.median_ms.value for latency in latencies]
    resolution = max(reading.resolution_ms for reading in readings)
    ratio = ratio_with_rounding(theirs, ours, resolution)
    to_bench = ratio_with_rounding(theirs, bench, resolution)
    return PeerRow(
        tool.name,
        artifact,
        engine.name,
        tool.times,
        tool.layer,
        "mean" if by_mean else "median",
        float(np.median(theirs)),
        float(np.median(ours)),
        ratio,
        agreement(ratio),
        to_bench,
        agreement(to_bench),
        (*tool.remarks, *_rounded(resolution, float(np.median(theirs)))),
    )


def _figure(reading: Reading, *, by_mean: bool) -> float:
    found = reading.mean_ms if by_mean else reading.median_ms
    assert found is not None, "a reading has one of the two"
    return found


def _rounded(resolution: float, value: float) -> tuple[str, ...]:
    share = resolution / value
    return (f"printed to {resolution:g} ms, {share:.1%} of it",) if share > 0.005 else ()


def _layer_row(engine: _Engine, artifact: str) -> LayerRow:
    layers = [layer for layer in LAYERS if layer in engine.layers[0]]
    times = {layer: [found[layer].median_ms for found in engine.layers] for layer in layers}
    bench = [row.latency.median_ms.value for row in engine.bench if row.latency]
    added = {
        layer: float(np.median(np.subtract(times[layer], times[before]))) * 1e3
        for before, layer in itertools.pairwise(layers)
    }
    return LayerRow(
        artifact,
        engine.name,
        float(np.median(bench)),
        {layer: float(np.median(found)) for layer, found in times.items()},
        added,
        ratio_with_rounding(bench, times["bench"], 0.0),
        own.sentences(engine.bench),
    )
