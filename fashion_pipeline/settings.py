"""Every environment variable, in one typed model. Read by call (`load_settings`), never at import."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from fashion_pipeline.errors import SettingsError

PREFIX = "FASHION_PIPELINE_"
DEMO_FEEDS = Path(__file__).with_name("demo") / "feeds.yaml"
DEMO_MODEL = f"local-dir:{Path(__file__).with_name('demo') / 'model'}"

POSTGRESQL = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://")

#: user:password of a URL (RFC 3986, userinfo), where a user has no colon.
_LOGIN = re.compile(r"(?:[^:/?#@\[\]%\s]|%[0-9A-Fa-f]{2})*(?::(?:[^:/?#@\[\]%\s]|%[0-9A-Fa-f]{2})*)?")

Profile = Literal["embedded", "server"]
Names = Annotated[tuple[str, ...], NoDecode]
Tags = Annotated[dict[str, str], NoDecode]


def _variable(name: str, description: str, **extra: Any) -> Any:
    return Field(validation_alias=name, description=description, **extra)


class Settings(BaseSettings):
    """What the environment (and a `.env` in the working directory) says.

    With the profile `embedded` every part that has no URL is the embedded one. With `server`, or with
    no profile, `check` names each setting that is missing.
    """

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, populate_by_name=False
    )

    profile: Profile | None = _variable(
        PREFIX + "PROFILE", "`embedded` or `server`: which world this is", default=None
    )
    data: str | None = _variable(
        PREFIX + "DATA", "data location: a folder, or `s3://`, `gs://`, `az://`", default=None
    )
    feeds_file: Path | None = _variable(PREFIX + "FEEDS", "the stores: path of `feeds.yaml`", default=None)
    model: str | None = _variable(PREFIX + "MODEL", "the candidate model: `local-dir:FOLDER`", default=None)
    database_url: SecretStr | None = _variable(
        "DATABASE_URL", "our tables: `postgresql+psycopg://user:password@host/fashion`", default=None
    )
    dagster_pg_url: SecretStr | None = _variable(
        "DAGSTER_PG_URL",
        "Dagster's own database: `postgresql+psycopg2://user:password@host/dagster`",
        default=None,
    )
    qdrant_url: str | None = _variable("QDRANT_URL", "the Qdrant server", default=None)
    qdrant_api_key: SecretStr | None = _variable("QDRANT_API_KEY", "its API key", default=None)
    qdrant_prefer_grpc: bool = _variable(
        "QDRANT_PREFER_GRPC", "gRPC for bulk traffic; needs port 6334 to be reachable", default=False
    )
    qdrant_tuning: str | None = _variable(
        "QDRANT_TUNING",
        "HNSW, quantization, shards, replicas, ...: `name=value,...`, see docs/index.md",
        default=None,
    )
    alias: str = _variable(PREFIX + "ALIAS", "the serving alias that searches query", default="products")
    allowed_hosts: Names = _variable(
        PREFIX + "ALLOWED_HOSTS",
        "hosts, comma-separated, that feeds and images may come from though their addresses are private",
        default=(),
    )
    file_roots: Names = _variable(
        PREFIX + "FILE_ROOTS",
        "folders, comma-separated, below which `file:` feeds and images may lie, besides the data folder",
        default=(),
    )
    user_agent: str = _variable(
        PREFIX + "USER_AGENT",
        "how requests for feeds and images introduce themselves",
        default="fashion-pipeline/0.1 (product feed reader)",
    )
    device: str = _variable(PREFIX + "DEVICE", "`auto`, `cpu` or `cuda`", default="auto")
    precision: Literal["auto", "fp32", "bf16"] = _variable(
        PREFIX + "PRECISION", "`auto`, `fp32` or `bf16`", default="auto"
    )
    decode: Literal["auto", "full", "draft"] = _variable(
        PREFIX + "DECODE",
        "`auto` (draft where the model's folder admits it), `full` or `draft`",
        default="auto",
    )
    decode_workers: int | None = _variable(
        PREFIX + "DECODE_WORKERS", "decode processes of a run; one per processor", default=None, ge=1, le=256
    )
    batch_size: int | None = _variable(
        PREFIX + "BATCH_SIZE", "pictures per encode; 32 on a CPU, 256 on a GPU", default=None, ge=1, le=8192
    )
    queue_batches: int = _variable(
        PREFIX + "QUEUE_BATCHES", "batches decoded ahead of the encoder", default=3, ge=1, le=64
    )
    vectors: Literal["float32", "float16"] = _variable(
        PREFIX + "VECTORS", "elements of stored vectors: `float32` or `float16`", default="float32"
    )
    price_per_hour: float | None = _variable(
        PREFIX + "PRICE_PER_HOUR",
        "price of the machine per hour, for the cost per 1,000 pictures",
        default=None,
        ge=0,
    )
    fetch_concurrency: int = _variable(
        PREFIX + "FETCH_CONCURRENCY", "image requests under way at once in a run", default=64, ge=1, le=1024
    )

    alert_webhook: SecretStr | None = _variable(
        PREFIX + "ALERT_WEBHOOK",
        "where failures and recoveries are posted as JSON; none: nowhere",
        default=None,
    )
    ui_url: str | None = _variable(
        PREFIX + "UI_URL", "address of the Dagster UI, for links and for `backfill`", default=None
    )
    log_format: Literal["text", "json"] = _variable(
        PREFIX + "LOG_FORMAT", "`text`, or `json`: one object per line", default="text"
    )
    line_tags: Tags = _variable(
        PREFIX + "LINE_TAGS",
        "tags, as a JSON object, of every run of the line: what a run launcher reads",
        default_factory=dict,
    )
    secrets_dir: Path | None = _variable(
        PREFIX + "SECRETS_DIR",
        "folder of mounted secrets: a file named like a variable holds its value",
        default=None,
    )

    @field_validator("allowed_hosts", "file_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model")
    @classmethod
    def _local_model(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("local-dir:"):
            raise ValueError("a model is loaded from a local folder: write local-dir:FOLDER")
        return value

    @field_validator("database_url", "dagster_pg_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not POSTGRESQL.match(value.get_secret_value()):
            raise ValueError(
                "not a URL of PostgreSQL: write postgresql+psycopg://user:password@host/database"
            )
        if value is not None and not _login_is_escaped(value.get_secret_value()):
            raise ValueError(
                "user or password holds a character that a URL reads as something else: write %40 for @, %2F for /, "
                "%3A for :, %23 for #, %3F for ?, %25 for %, or take a password of letters and digits"
            )
        return value

    @field_validator("line_tags", mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            told = json.loads(value)
        except ValueError as error:
            raise ValueError(
                'write a JSON object, such as {"dagster-ray/config": {"num_gpus": 1}}'
            ) from error
        if not isinstance(told, dict):
            raise ValueError("write a JSON object of tags")  # noqa: TRY004 - pydantic reads ValueErrors
        # Launchers read a tag's value as JSON.
        return {name: each if isinstance(each, str) else json.dumps(each) for name, each in told.items()}

    @field_validator("alert_webhook")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("a webhook is an http(s) URL")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that may stand in no log, message or table."""
        found = [value.get_secret_value() for value in (self.qdrant_api_key, self.alert_webhook) if value]
        for url in (self.database_url, self.dagster_pg_url):
            password = urlsplit(url.get_secret_value()).password if url is not None else None
            if password:
                # As it is written in the URL, and as it is.
                found += dict.fromkeys((password, unquote(password)))
        return tuple(found)

    @property
    def embedded(self) -> bool:
        """Whether missing parts are the embedded ones."""
        return self.profile == "embedded"

    @property
    def data_location(self) -> str:
        """URL of the data location, or its folder as an absolute path."""
        location = str(self._needed(self.data, "data", "data"))
        return location if "://" in location else str(Path(location).absolute())

    @property
    def data_folder(self) -> Path:
        """The local folder for embedded servers, Dagster's home and locks.

        Raises:
            SettingsError: the data location is no local folder.
        """
        location = self.data_location
        if "://" in location and not location.startswith("file://"):
            raise SettingsError(
                f"{PREFIX}DATA is {location!r}, but embedded parts need a local folder: give DATABASE_URL, "
                "DAGSTER_PG_URL and QDRANT_URL of servers, or a folder"
            )
        return Path(location.removeprefix("file://")).absolute()

    @property
    def feeds_path(self) -> Path:
        """Absolute path of `feeds.yaml`."""
        return Path(self._needed(self.feeds_file, "feeds_file", DEMO_FEEDS)).absolute()

    @property
    def model_ref(self) -> str:
        """The candidate model, `local-dir:FOLDER` with an absolute path."""
        scheme, _, folder = str(self._needed(self.model, "model", DEMO_MODEL)).partition(":")
        return f"{scheme}:{Path(folder).absolute()}"

    def _needed(self, value: Any, name: str, embedded_default: Any) -> Any:
        if value is not None:
            return value
        if self.embedded:
            return embedded_default
        raise SettingsError(self._missing([name]))

    def require(self, name: str) -> None:
        """Refuse to go on without one setting, unless the embedded part stands in for it.

        Raises:
            SettingsError: it is missing; the message names its variable.
        """
        if getattr(self, name) is None and not self.embedded:
            raise SettingsError(self._missing([name]))

    def check(self) -> None:
        """Refuse a world that is half configured.

        Raises:
            SettingsError: a setting that the profile needs is missing; the message names each.
        """
        if self.embedded:
            return
        needed = ["data", "feeds_file", "model", "database_url", "dagster_pg_url", "qdrant_url"]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise SettingsError(self._missing(missing))

    def _missing(self, names: list[str]) -> str:
        variables = [
            f"{type(self).model_fields[name].validation_alias} ({type(self).model_fields[name].description})"
            for name in names
        ]
        world = "the profile is `server`" if self.profile else f"{PREFIX}PROFILE is not set"
        return (
            f"missing settings, while {world}: {'; '.join(variables)}. Set them, "
            f"or set {PREFIX}PROFILE=embedded to run on embedded parts"
        )


def _login_is_escaped(url: str) -> bool:
    """Whether what stands before the host of a URL is one user and one password, percent-encoded."""
    login, at, _ = url.partition("://")[2].rpartition("@")
    return not at or bool(_LOGIN.fullmatch(login))


def mounted_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What the files of `FASHION_PIPELINE_SECRETS_DIR` hold, by the variable that each is named like.

    Raises:
        SettingsError: the folder is not there.
    """
    given = environ.get(PREFIX + "SECRETS_DIR")
    if not given:
        return {}
    return {
        path.name: path.read_text(encoding="utf-8").strip()
        for path in sorted(_folder(Path(given)).iterdir())
        # Kubernetes mounts keep their versions in hidden folders beside the files.
        if path.is_file() and not path.name.startswith(".")
    }


def references(environ: Mapping[str, str] | None = None, *, env_file: Path = Path(".env")) -> dict[str, str]:
    """What answers the `${NAME}` of feeds.yaml: the environment, else `env_file`, else a mounted file.

    Args:
        environ: used in place of the process's environment and of any file.
        env_file: read where it exists.

    Raises:
        SettingsError: the folder of mounted files is not there.
    """
    if environ is None:
        written = DotEnvSettingsSource(Settings, env_file=env_file, case_sensitive=True).env_vars
        environ = {name: value for name, value in written.items() if value} | dict(os.environ)
    given = {name: value for name, value in environ.items() if value}
    return mounted_secrets(given) | given


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise SettingsError(
            f"{PREFIX}SECRETS_DIR is {str(path)!r}, which is no folder: mount it, or unset it"
        )
    return path


def load_settings(
    environ: Mapping[str, str] | None = None, *, env_file: Path | None = Path(".env")
) -> Settings:
    """Read the settings from the environment, then from `env_file` where the environment is silent.

    Args:
        environ: used in place of the process's environment and of any file, for tests.
        env_file: read where it exists.

    Raises:
        SettingsError: a value is not of its setting's kind; the message names the variable.
    """
    try:
        if environ is not None:
            given = {key: value for key, value in environ.items() if value != ""}
            return Settings.model_validate(mounted_secrets(given) | given)
        first = Settings(_env_file=env_file)  # type: ignore[call-arg] # pydantic-settings' own argument
        if first.secrets_dir is None:
            return first
        return Settings(_env_file=env_file, _secrets_dir=_folder(first.secrets_dir))  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"settings that cannot be used: {problems}") from error
