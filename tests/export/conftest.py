from pathlib import Path

import pytest
from support.small_run import Conversions, SmallRun, make_small_run

from edgecell_export.keras_chain import read_chain
from edgecell_export.prepare import Chain, prepare


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return make_small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def small_chain(small_run: SmallRun) -> Chain:
    """The small model, prepared."""
    return prepare(read_chain(small_run.source.model), small_run.source.head)


@pytest.fixture(scope="session")
def conversions(
    small_run: SmallRun, small_chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> Conversions:
    """The small model in every format and recipe, converted when first asked for."""
    folder: Path = tmp_path_factory.mktemp("conversions")
    return Conversions(small_chain, small_run.pixels, folder)
