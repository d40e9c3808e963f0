"""The presets as a table, and for machines."""

from edgecell.console import Table
from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.presets import PRESETS, Preset
from edgecell_train.presets.parameters import PARAMETERS, Parameters


def table() -> Table:
    """One row a preset."""
    rows = [
        (
            preset.name,
            _input(preset.preprocessing),
            _parameters(PARAMETERS.get(preset.name)),
            preset.summary,
            preset.published,
        )
        for preset in PRESETS.values()
    ]
    return Table("Presets", ("name", "input", "parameters", "what it is", "source"), rows)


def document() -> Json:
    """All of it, with the recipes."""
    return {"presets": [_described(preset) for preset in PRESETS.values()]}


def _described(preset: Preset) -> Json:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "published": preset.published,
        "input": list(preset.preprocessing.shape),
        "parameters": codec.encode(PARAMETERS.get(preset.name)),
        "head": preset.head,
        "recipe": codec.encode(preset.recipe),
    }


def _input(spec: PreprocessSpec) -> str:
    """Such as ``64 x 64 RGB``; a volume's depth comes first."""
    sides = " x ".join(map(str, spec.shape[:-1]))
    return f"{sides} {'RGB' if spec.color_mode == 'RGB' else 'grey'}"


def _parameters(parameters: Parameters | None) -> str:
    """With the trainable ones in brackets where they differ; a dash where nobody counted."""
    if parameters is None:
        return "-"
    total, trainable = f"{parameters.total:,}", f"{parameters.trainable:,}"
    return total if total == trainable else f"{total} ({trainable})"
