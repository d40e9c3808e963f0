from pathlib import Path
from typing import Any

import pytest
from support.tiny_training import Watcher, train_tiny, write_cells

from edgecell_train import training
from edgecell_train.fitting import Fitted, fit
from edgecell_train.training import Outcome


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of drawn cells, with a damaged file and an image without a patient."""
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="session")
def watcher() -> Watcher:
    """What followed the training of ``outcome``."""
    return Watcher()


@pytest.fixture(scope="session")
def fits() -> list[Fitted]:
    """The fitted model of ``outcome``, once that is there."""
    return []


@pytest.fixture(scope="session")
def outcome(
    cells: Path, watcher: Watcher, fits: list[Fitted], tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """A finished training; its run is only to be read."""

    def remember(*arguments: Any) -> Fitted:
        fits.append(fit(*arguments))
        return fits[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", remember)
        return train_tiny(cells, tmp_path_factory.mktemp("trained") / "runs", watcher=watcher)
