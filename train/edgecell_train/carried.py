"""What of a run travels inside an exported model, which may be a few kilobytes itself."""

from collections.abc import Mapping
from typing import Any, Final

from edgecell_runtime.codec import Scalar
from edgecell_runtime.manifest import Evaluation, Figure, Source
from edgecell_train.config import TrainConfig
from edgecell_train.config_files import scalars
from edgecell_train.presets import PRESETS
from edgecell_train.run_record import RunRecord

_MADE_WITH: Final = ("edgecell", "tensorflow", "tensorflow-cpu", "jax", "keras", "numpy")
"""What weights depend on; a run knows more of its libraries."""

_DECIMALS: Final = 5
"""Of a figure, whose interval is some hundredths wide."""


def source_of(record: RunRecord) -> Source:
    """Where a model came from: of the options those that are not its preset's recipe."""
    return Source(
        weights_sha256=record.weights_sha256,
        data_sha256=record.data.sha256,
        configuration=_own_options(record),
        seed=record.seed,
        versions={name: v for name, v in record.versions.items() if name in _MADE_WITH},
        time=record.time,
        drawn=record.data.drawn,
    )


def evaluation_of(record: RunRecord) -> Evaluation:
    """The figures on the test patients, rounded."""
    values: dict[str, Any] = {
        name: _rounded(value) if isinstance(value, Figure) else value
        for name, value in vars(record.evaluation).items()
    }
    return Evaluation(**values)


def _own_options(record: RunRecord) -> Mapping[str, Scalar]:
    preset = PRESETS.get(record.preset)
    usual = scalars(TrainConfig() if preset is None else preset.recipe)
    return {
        name: value
        for name, value in record.configuration.items()
        if name == "preset" or name not in usual or usual[name] != value
    }


def _rounded(figure: Figure) -> Figure:
    return Figure(*(round(share, _DECIMALS) for share in (figure.value, figure.low, figure.high)))
