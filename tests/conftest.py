import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trainings of the tests keep their decoded images elsewhere."""
    pytest.MonkeyPatch().setenv("EDGECELL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="session")
def interrupts_reach_children() -> None:
    """A job in a shell's background ignores SIGINT, and so would every command that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
