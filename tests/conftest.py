import pytest


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trainings of the tests keep their decoded images elsewhere."""
    pytest.MonkeyPatch().setenv("EDGECELL_CACHE", str(tmp_path_factory.mktemp("cache")))
