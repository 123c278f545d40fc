"""Fixtures of the campaign's own tests."""

from __future__ import annotations

import pytest
from workplace import Workplace, make_workplace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the campaign ran to its end without interruption."""
    place = make_workplace(tmp_path_factory.mktemp("finished"))
    place.run("run", "--campaign", str(place.campaign), "--json")
    return place
