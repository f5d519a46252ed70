"""Settings: what is read, what is refused, and that a message names the variable and holds no secret."""

import os
from pathlib import Path

import pytest

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.settings import DEMO_FEEDS, DEMO_MODEL, PREFIX, Settings, load_settings, references

SERVER = {
    "FASHION_PIPELINE_PROFILE": "server",
    "FASHION_PIPELINE_DATA": "s3://bucket/fashion",
    "FASHION_PIPELINE_FEEDS": "/etc/fashion/feeds.yaml",
    "FASHION_PIPELINE_MODEL": "local-dir:/srv/model",
    "DATABASE_URL": "postgresql+psycopg://user:hunter2@host/fashion",
    "DAGSTER_PG_URL": "postgresql+psycopg2://user:hunter2@host/dagster",
    "QDRANT_URL": "https://host:6333",
}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process environment without any setting of ours, in an empty working directory."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_variable_has_a_description_and_a_name_of_ours_or_of_its_engine() -> None:
    names = [str(field.validation_alias) for field in Settings.model_fields.values()]
    assert len(set(names)) == len(names)
    for name, field in zip(names, Settings.model_fields.values(), strict=True):
        assert name.startswith((PREFIX, "DATABASE_", "DAGSTER_", "QDRANT_")), name
        assert name == name.upper()
        assert field.description, name


def test_the_embedded_world_needs_nothing_else(silent: Path) -> None:
    settings = load_settings({"FASHION_PIPELINE_PROFILE": "embedded"})
    settings.check()
    assert settings.embedded
    assert settings.data_folder == silent / "data"
    assert settings.feeds_path == DEMO_FEEDS
    assert settings.model_ref == DEMO_MODEL
    assert settings.alias == "products"
    assert settings.database_url is None


def test_the_demo_files_that_the_defaults_name_are_there() -> None:
    assert DEMO_FEEDS.is_file()
    assert (Path(DEMO_MODEL.removeprefix("local-dir:")) / "open_clip_config.json").is_file()


def test_an_empty_environment_is_a_world_that_says_what_is_missing(silent: Path) -> None:
    settings = load_settings({})
    with pytest.raises(SettingsError) as caught:
        settings.check()
    message = str(caught.value)
    for name in SERVER:
        assert name in message
    assert "FASHION_PIPELINE_PROFILE is not set" in message
    assert "FASHION_PIPELINE_PROFILE=embedded" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", [name for name in SERVER if name != "FASHION_PIPELINE_PROFILE"])
def test_the_server_world_names_the_one_setting_that_is_missing(name: str) -> None:
    settings = load_settings({key: value for key, value in SERVER.items() if key != name})
    with pytest.raises(SettingsError) as caught:
        settings.check()
    message = str(caught.value)
    assert name in message
    others = set(SERVER) - {name, "FASHION_PIPELINE_PROFILE"}
    assert not [other for other in others if other in message]
    assert "hunter2" not in message


def test_the_complete_server_world_passes() -> None:
    settings = load_settings(SERVER)
    settings.check()
    assert not settings.embedded
    assert settings.model_ref == "local-dir:/srv/model"
    assert settings.data_location == "s3://bucket/fashion"


@pytest.mark.parametrize("profile", [{}, {"FASHION_PIPELINE_PROFILE": "server"}])
def test_the_demo_model_and_stores_are_never_taken_outside_the_embedded_world(
    profile: dict[str, str],
) -> None:
    settings = load_settings(profile)
    with pytest.raises(SettingsError, match="FASHION_PIPELINE_MODEL"):
        _ = settings.model_ref
    with pytest.raises(SettingsError, match="FASHION_PIPELINE_FEEDS"):
        _ = settings.feeds_path
    with pytest.raises(SettingsError, match="FASHION_PIPELINE_DATA"):
        _ = settings.data_location


def test_embedded_parts_refuse_an_object_store() -> None:
    settings = load_settings(
        {"FASHION_PIPELINE_PROFILE": "embedded", "FASHION_PIPELINE_DATA": "s3://bucket/x"}
    )
    assert settings.data_location == "s3://bucket/x"
    with pytest.raises(SettingsError, match="FASHION_PIPELINE_DATA") as caught:
        _ = settings.data_folder
    assert "DATABASE_URL" in str(caught.value)


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    settings = load_settings(
        {"FASHION_PIPELINE_PROFILE": "embedded", "FASHION_PIPELINE_DATA": f"file://{tmp_path}"}
    )
    assert settings.data_folder == tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASHION_PIPELINE_PROFILE", "production"),
        ("FASHION_PIPELINE_MODEL", "Marqo/marqo-fashionSigLIP"),
        ("FASHION_PIPELINE_MODEL", "hf-hub:Marqo/marqo-fashionSigLIP"),
        ("FASHION_PIPELINE_PRECISION", "fp8"),
        ("FASHION_PIPELINE_FETCH_CONCURRENCY", "0"),
        ("FASHION_PIPELINE_FETCH_CONCURRENCY", "many"),
        ("QDRANT_PREFER_GRPC", "perhaps"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "mysql://me:hunter2@host/fashion"),
        ("DAGSTER_PG_URL", "sqlite:///dagster.db"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_empty_value_is_no_value(silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"FASHION_PIPELINE_ALIAS": "", "QDRANT_URL": ""}).alias == "products"
    monkeypatch.setenv("FASHION_PIPELINE_ALIAS", "")
    monkeypatch.setenv("QDRANT_URL", "")
    settings = load_settings()
    assert (settings.alias, settings.qdrant_url) == ("products", None)


def test_lists_are_split_at_commas(silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "FASHION_PIPELINE_ALLOWED_HOSTS": " cdn.internal, 10.0.0.0/8 ,,",
        "FASHION_PIPELINE_FILE_ROOTS": "/a",
    }
    wanted = (("cdn.internal", "10.0.0.0/8"), ("/a",))
    settings = load_settings(given)
    assert (settings.allowed_hosts, settings.file_roots) == wanted
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.allowed_hosts, settings.file_roots) == wanted


def test_secrets_are_not_shown() -> None:
    settings = load_settings(SERVER | {"QDRANT_API_KEY": "hunter2"})
    assert "hunter2" not in repr(settings) + str(settings)
    assert settings.qdrant_api_key is not None
    assert settings.qdrant_api_key.get_secret_value() == "hunter2"


def test_the_file_answers_where_the_environment_is_silent(
    silent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (silent / ".env").write_text(
        "# a comment\nFASHION_PIPELINE_PROFILE=embedded\nFASHION_PIPELINE_ALIAS=from_file\n"
        "SOMETHING_ELSE=1\n# FASHION_PIPELINE_DATA=/nowhere\n"
    )
    assert load_settings().alias == "from_file"
    assert load_settings().data is None
    monkeypatch.setenv("FASHION_PIPELINE_ALIAS", "from_environment")
    assert load_settings().alias == "from_environment"
    assert load_settings().embedded
    assert load_settings(env_file=None).profile is None
    # A given environment is the whole world.
    assert load_settings({}).profile is None
    assert "SOMETHING_ELSE" not in os.environ


def test_settings_are_read_anew_and_cannot_be_changed(silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_settings()
    monkeypatch.setenv("FASHION_PIPELINE_ALIAS", "later")
    assert (first.alias, load_settings().alias) == ("products", "later")
    with pytest.raises(ValueError, match="frozen"):
        first.alias = "other"  # type: ignore[misc]


def test_folders_are_absolute_wherever_a_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": "my data",
            "FASHION_PIPELINE_FEEDS": "feeds.yaml",
            "FASHION_PIPELINE_MODEL": "local-dir:models/a",
        }
    )
    monkeypatch.chdir("/")
    found = load_settings(
        {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(tmp_path / "my data"),
        }
    )
    monkeypatch.chdir(tmp_path)
    assert settings.data_location == found.data_location == str(tmp_path / "my data")
    assert settings.feeds_path == tmp_path / "feeds.yaml"
    assert settings.model_ref == f"local-dir:{tmp_path / 'models' / 'a'}"


def test_secrets_may_be_mounted_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "DATABASE_URL").write_text("postgresql+psycopg://u:mounted@host/fashion\n")  # not-a-secret
    (folder / "QDRANT_API_KEY").write_text("mounted-key\n")
    environ = {"FASHION_PIPELINE_SECRETS_DIR": str(folder)}
    found = load_settings(environ)
    assert found.database_url is not None
    assert found.database_url.get_secret_value().endswith("mounted@host/fashion")
    assert found.secrets == ("mounted-key", "mounted")
    # The environment wins, and both ways of reading agree.
    monkeypatch.setenv("FASHION_PIPELINE_SECRETS_DIR", str(folder))
    monkeypatch.setenv("QDRANT_API_KEY", "given-key")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    read = load_settings(env_file=None)
    assert read.database_url == found.database_url
    assert read.qdrant_api_key is not None
    assert read.qdrant_api_key.get_secret_value() == "given-key"


def test_what_feeds_yaml_refers_to_comes_from_where_the_settings_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment, then .env, then mounted files; also for commands, which Dagster gives no .env."""
    folder, written = tmp_path / "secrets", tmp_path / ".env"
    folder.mkdir()
    for name in ("SHOP_ONE", "SHOP_TWO", "SHOP_THREE"):
        (folder / name).write_text("mounted\n")
    written.write_text(f"FASHION_PIPELINE_SECRETS_DIR={folder}\nSHOP_TWO=written\nSHOP_THREE=written\n")
    monkeypatch.delenv("FASHION_PIPELINE_SECRETS_DIR", raising=False)
    monkeypatch.setenv("SHOP_THREE", "given")
    found = references(env_file=written)
    assert [found[name] for name in ("SHOP_ONE", "SHOP_TWO", "SHOP_THREE")] == ["mounted", "written", "given"]
    # Where a mapping is given, nothing else is read.
    assert references({"SHOP_FOUR": "x", "SHOP_FIVE": ""}) == {"SHOP_FOUR": "x"}


def test_a_folder_of_secrets_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SECRETS_DIR"):
        load_settings({"FASHION_PIPELINE_SECRETS_DIR": str(tmp_path / "none")})


def test_a_webhook_is_a_web_address() -> None:
    with pytest.raises(SettingsError, match="ALERT_WEBHOOK"):
        load_settings({"FASHION_PIPELINE_ALERT_WEBHOOK": "ftp://x"})


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DAGSTER_PG_URL"])
@pytest.mark.parametrize("password", ["p@w", "p/w", "p#w", "p?w", "p:w", "100%", "p w", "p[w"])
def test_a_password_that_a_url_would_read_as_something_else_is_refused(variable: str, password: str) -> None:
    with pytest.raises(SettingsError, match="%40 for @") as caught:
        load_settings({variable: f"postgresql+psycopg://user:{password}@host:5432/fashion"})
    assert variable in str(caught.value)
    assert f"{password}@" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:p%40%2Fw!$&'()*+,;=~-._@host:5432/fashion",
        "postgresql+psycopg://user@host/fashion",
        "postgresql+psycopg://host/fashion",
        "postgresql+psycopg://user@/fashion?host=/run/postgresql",
        "postgresql+psycopg:///fashion?host=%2Frun%2Fa%40b",
    ],
)
def test_a_password_that_is_escaped_or_needs_not_be_is_taken(url: str) -> None:
    settings = load_settings({"DATABASE_URL": url})
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == url
