"""Fixtures over `small_world`, for the folders whose tests need a filled world."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from fashion_pipeline.catalog.engine import dispose_shared
from fashion_pipeline_tests.small_world import SmallWorld, copied, fill, fresh_database

#: pytest makes a session's fixture anew for each conftest that has it; filling takes too long for two.
_filled: dict[str, SmallWorld] = {}


@pytest.fixture(scope="session")
def filled_world(
    postgres_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallWorld]:
    """Both stores after their first day; only to be read, and to be copied."""
    if template_database in _filled:
        yield _filled[template_database]
        return
    folder = tmp_path_factory.mktemp("small_world")
    with fresh_database(postgres_url, template_database) as url:
        world = SmallWorld(folder / "data", url, folder / "pictures")
        fill(world)
        _filled[template_database] = world
        yield world
        del _filled[template_database]
        world.database.dispose()


@pytest.fixture
def world_template(filled_world: SmallWorld) -> str:
    """Name of the filled database, with nobody connected, so that it can be copied."""
    dispose_shared()
    filled_world.database.dispose()
    return str(make_url(filled_world.database_url).database)


@pytest.fixture
def world(
    filled_world: SmallWorld, world_template: str, postgres_url: str, tmp_path: Path
) -> Iterator[SmallWorld]:
    """A copy that the test may change."""
    with copied(filled_world, world_template, postgres_url, tmp_path) as world:
        yield world
