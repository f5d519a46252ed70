"""Dagster's home in the data folder: its `dagster.yaml`, and the environment that its processes need."""

import os
from collections.abc import Mapping
from pathlib import Path

from fashion_pipeline import parts
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.settings import PREFIX, Settings

INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")


def prepare_home(settings: Settings) -> dict[str, str]:
    """Have DAGSTER_HOME exist and say what Dagster's processes need in their environment.

    A home that the environment names is used as it is; else it is the data folder's, with our dagster.yaml.
    """
    needed = {"DAGSTER_PG_URL": parts.dagster_url(settings)}
    if settings.embedded:
        needed[PREFIX + "PROFILE"] = "embedded"
        # Absolute, because Dagster's processes start in the project's folder.
        needed[PREFIX + "DATA"] = settings.data_location
        needed[PREFIX + "FEEDS"] = str(settings.feeds_path)
        needed[PREFIX + "MODEL"] = settings.model_ref
    given = os.environ.get("DAGSTER_HOME")
    if given:
        return needed | {"DAGSTER_HOME": given}
    home = settings.data_folder / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    target = home / "dagster.yaml"
    wanted = INSTANCE_FILE.read_text(encoding="utf-8")
    if not target.exists() or target.read_text(encoding="utf-8") != wanted:
        target.write_text(wanted, encoding="utf-8")
    return needed | {"DAGSTER_HOME": str(home)}


def enter_home(settings: Settings) -> Mapping[str, str]:
    """Put what `prepare_home` says into this process's environment."""
    needed = prepare_home(settings)
    os.environ.update(needed)
    return needed


def project_root() -> Path:
    """The folder with workspace.yaml and alembic.ini.

    Raises:
        PermanentError: neither the working directory nor the package's parent has them.
    """
    # The checkout first: another project that one stands in has such files as well.
    for folder in (Path(__file__).resolve().parents[1], Path.cwd()):
        if (folder / "alembic.ini").is_file() and (folder / "workspace.yaml").is_file():
            return folder
    raise PermanentError(
        "no alembic.ini and workspace.yaml here: run this from the root of the project's checkout"
    )
