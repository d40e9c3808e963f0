from typing import Any

import numpy as np
import pytest
from support.random_models import LABELS, RandomModel, agreement, random_model

from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import Affine
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from edgecell_train.presets import PRESETS


@pytest.mark.parametrize("seed", range(15))
def test_prepared_model_answers_as_keras_does_in_every_form(seed: int) -> None:
    found = agreement(random_model(seed))
    assert not found.faults(), found
    import_keras().backend.clear_session()


def test_random_model_is_the_same_for_the_same_seed() -> None:
    first, second = (random_model(3) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_agreement_has_a_fault_when_a_pass_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: FoldBatchNorm, chain: Chain) -> Chain:
        return chain.with_nodes(*(n for n in chain.nodes if not isinstance(n, Affine)))

    monkeypatch.setattr(FoldBatchNorm, "rewrite", forgetful)
    monkeypatch.setattr(FoldBatchNorm, "_compare", lambda *_: None)
    assert {"rewriting", "built", "for_integers"} <= set(agreement(random_model(3)).faults())


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "cnn-3d"])
def test_prepared_preset_answers_as_keras_does(name: str) -> None:
    preset = PRESETS[name]
    shape = (28, 28, preset.preprocessing.channels)
    model: Any = preset.build(shape, 2)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            for weight, low in ((layer.gamma, -0.5), (layer.beta, -1), (layer.moving_mean, 0)):
                weight.assign(rng.uniform(low, 2, weight.shape))
            layer.moving_variance.assign(rng.uniform(0.2, 2, layer.moving_variance.shape))
    pixels = rng.integers(0, 256, (4, *shape), np.uint8)
    head = Head(preset.head, LABELS[1] if preset.head == "sigmoid" else None)
    found = agreement(RandomModel(model, head, LABELS[:2], pixels))
    assert max(found.reading, found.built, found.for_integers) < 1e-5
    assert found.rewriting < 1e-9
