"""What deploy/ says, held against the code: every setting, command, port and policy in it exists.

No container engine is at hand: what cannot be started is at least not wrong.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fashion_pipeline.defs.policies import POOL_LIMITS
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
OURS = {str(field.validation_alias) for field in Settings.model_fields.values()}
#: Variables of the other images, from their documentation.
THEIRS = {
    "postgres": {"POSTGRES_PASSWORD", "MIGRATE_PASSWORD", "WRITE_PASSWORD", "READ_PASSWORD", "DAGSTER_PASSWORD"},
    "qdrant": {"QDRANT__SERVICE__API_KEY"},
}  # fmt: skip
SHIPPED = yaml.safe_load((ROOT / "fashion_pipeline" / "dagster.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
BIN = Path(sys.executable).parent


def services() -> dict[str, Any]:
    return dict(COMPOSE["services"])


def ours() -> dict[str, Any]:
    return {name: each for name, each in services().items() if name not in THEIRS}


def test_every_setting_in_compose_exists() -> None:
    for name, service in services().items():
        variables = set(service.get("environment", {}))
        known = THEIRS.get(name, OURS)
        assert variables <= known, (name, variables - known)
    given = ours()["code"]["environment"]
    needed = {"FASHION_PIPELINE_PROFILE", "FASHION_PIPELINE_DATA", "FASHION_PIPELINE_FEEDS",
              "FASHION_PIPELINE_MODEL", "DATABASE_URL", "DAGSTER_PG_URL", "QDRANT_URL"}  # fmt: skip
    assert needed <= set(given)


def test_what_compose_says_is_a_complete_server_world() -> None:
    from fashion_pipeline.settings import load_settings

    filled = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", r"filled-\1", str(value))
        for name, value in ours()["code"]["environment"].items()
    }
    filled["FASHION_PIPELINE_ALERT_WEBHOOK"] = ""
    # A folder of the container's.
    assert filled.pop("FASHION_PIPELINE_SECRETS_DIR") == "/srv/secrets"
    settings = load_settings(filled)
    settings.check()
    assert settings.profile == "server"
    assert settings.log_format == "json"


def test_every_reference_of_compose_is_in_its_example() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == example
    # Secrets have no default: a missing one is an error of compose.
    for name in example:
        if name.endswith(("PASSWORD", "API_KEY")):
            assert set(re.findall(rf"\$\{{{name}([^}}]*)\}}", text)) == {":?"}, name


def test_nothing_that_a_deployment_brings_along_gets_into_its_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    example = (DEPLOY / ".env.example").read_text()
    brought = re.findall(r"^[A-Z_]+=\./(\S+)$", example, re.MULTILINE)
    assert set(brought) == {"feeds.yaml", "model", "secrets"}
    assert {"**/.env", *(f"deploy/{name}" for name in brought)} <= set(ignored)


def test_no_secret_has_a_value_here() -> None:
    for line in (DEPLOY / ".env.example").read_text().splitlines():
        if re.match(r"[A-Z_]*(PASSWORD|KEY|WEBHOOK)=", line):
            assert line.endswith("="), line


def words(command: Any) -> list[list[str]]:
    """The commands that a service runs."""
    if command[:2] == ["sh", "-c"]:
        return [part.split() for part in command[2].split("&&")]
    return [list(map(str, command))]


@pytest.mark.parametrize("service", sorted(ours()))
def test_every_command_in_compose_exists_and_takes_its_options(service: str) -> None:
    each = ours()[service]
    commands = words(each["command"])
    if "test" in each.get("healthcheck", {}):
        commands.append(each["healthcheck"]["test"][1:])
    for command in commands:
        program, options = command[0], [word for word in command if re.fullmatch(r"--?[a-z-]+", word)]
        if program == "python":
            compile(command[2], "healthcheck", "exec")
            continue
        assert (BIN / program).exists(), program
        until = next((n for n, word in enumerate(command) if word.startswith("-")), len(command))
        shown = subprocess.run(
            [str(BIN / program), *command[1:until], "--help"],
            capture_output=True, text=True, timeout=120, check=True,
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        ).stdout  # fmt: skip
        for option in options:
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", shown), (command, option)


def test_every_volume_is_a_folder_of_the_images_user() -> None:
    """A new volume takes its owner from the image's folder; where there is none, it is root's."""
    assert "USER fashion" in DOCKERFILE
    made = re.search(r"mkdir -p (.*?) \\\n\s*&& chown -R fashion: /srv", DOCKERFILE)
    assert made is not None
    targets = {
        volume.split(":")[1]
        for service in ours().values()
        for volume in service["volumes"]
        if volume.split(":")[0] in COMPOSE["volumes"]
    }
    assert targets == {"/srv/data", "/srv/dagster_home/storage"}
    assert targets <= set(made.group(1).split())


def test_ports_agree() -> None:
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    code = ours()["code"]
    assert server == {"host": "code", "port": 4000, "location_name": "fashion_pipeline"}
    assert str(server["port"]) in code["command"]
    assert code["expose"] == [str(server["port"])]
    assert str(server["port"]) in code["healthcheck"]["test"]
    assert f"EXPOSE {server['port']}" in DOCKERFILE
    assert VALUES["dagster-user-deployments"]["deployments"][0]["port"] == server["port"]
    assert ours()["code-gpu"]["networks"]["default"]["aliases"] == ["code"]
    environment = code["environment"]
    for name in ("DATABASE_URL", "DAGSTER_PG_URL"):
        assert "@postgres:5432/" in environment[name]
    assert environment["QDRANT_URL"] == "http://qdrant:6333"
    assert {"6333", "6334"} == set(services()["qdrant"]["expose"])


def test_only_the_ui_is_published_and_only_to_this_machine() -> None:
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    assert published == {"webserver": ["127.0.0.1:3000:3000"]}


def test_the_containers_may_do_little() -> None:
    for name, each in ours().items():
        assert each["cap_drop"] == ["ALL"], name
        assert each["read_only"] is True, name
    assert re.search(r"^USER fashion$", DOCKERFILE, re.MULTILINE)
    # No step after it is root again.
    assert DOCKERFILE.index("USER fashion") < DOCKERFILE.index("COPY")
    assert "USER root" not in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE


def test_every_service_says_whether_it_is_well() -> None:
    for name, each in services().items():
        health = each["healthcheck"]
        assert "test" in health or health == {"disable": True}, name
    assert [name for name, each in services().items() if each["healthcheck"].get("disable")] == ["migrate"]


def test_what_the_dockerfile_copies_exists() -> None:
    for sources in re.findall(r"^COPY (?:--chown=\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert (ROOT / "fashion_pipeline" / "bootstrap.py").exists()
    assert "requires-python" in (ROOT / "pyproject.toml").read_text()
    assert "FROM python:3.11" in DOCKERFILE
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        assert not (ROOT / "deploy").match(line)


def test_the_roles_script_is_sound_and_uses_what_compose_gives() -> None:
    script = DEPLOY / "postgres" / "roles.sh"
    assert os.access(script, os.X_OK)
    shell = shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n", str(script)], check=True)
    used = set(re.findall(r"\$([A-Z_]+_PASSWORD)", script.read_text()))
    assert used == THEIRS["postgres"] - {"POSTGRES_PASSWORD"}
    for name in re.findall(r"sql/\w+\.sql", script.read_text()):
        assert (DEPLOY / "postgres" / name).is_file()


def test_kubernetes_names_only_settings_that_exist() -> None:
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    given = {each["name"]: each["value"] for each in deployment["env"]}
    assert set(given) <= OURS
    secret = {"DATABASE_URL", "QDRANT_API_KEY", "FASHION_PIPELINE_ALERT_WEBHOOK"}
    assert not secret & set(given)
    from fashion_pipeline.settings import load_settings

    # The chart gives DAGSTER_PG_URL's parts to Dagster itself.
    settings = load_settings(
        given
        | {
            "DATABASE_URL": "postgresql+psycopg://u@h/fashion",
            "DAGSTER_PG_URL": "postgresql+psycopg2://u@h/d",
        }
    )
    settings.check()
    (name,) = settings.line_tags
    assert name == "dagster-k8s/config"
    limits = yaml.safe_load(settings.line_tags[name])["container_config"]["resources"]["limits"]
    assert limits == {"nvidia.com/gpu": "1"}
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "fashion_pipeline.definitions"]
    assert deployment["securityContext"]["runAsUser"] == 10001
    assert "--uid 10001" in DOCKERFILE


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def test_kubernetes_has_the_policies_of_the_shipped_instance() -> None:
    daemon = VALUES["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == SHIPPED["concurrency"]["runs"]["tag_concurrency_limits"]
    monitoring = {camel(name): value for name, value in SHIPPED["run_monitoring"].items()}
    del monitoring["cancelTimeoutSeconds"]
    assert daemon["runMonitoring"] == monitoring
    assert daemon["runRetries"] == {camel(name): value for name, value in SHIPPED["run_retries"].items()}
    assert VALUES["telemetry"]["enabled"] is False
    retention = SHIPPED["retention"]
    assert VALUES["retention"]["schedule"]["purgeAfterDays"] == retention["schedule"]["purge_after_days"]
    assert VALUES["retention"]["sensor"]["purgeAfterDays"] == retention["sensor"]["purge_after_days"]
    assert VALUES["runLauncher"]["type"] == "K8sRunLauncher"


def test_rays_instance_is_the_shipped_one_and_a_launcher() -> None:
    ray = yaml.safe_load((DEPLOY / "ray" / "dagster.yaml").read_text())
    launcher = ray.pop("run_launcher")
    assert ray == SHIPPED
    assert (launcher["module"], launcher["class"]) == ("dagster_ray", "RayRunLauncher")
    # What is passed on in a job shows in Ray's dashboard.
    assert "env_vars" not in launcher["config"]["ray"]


def test_dagster_takes_the_shipped_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own schema, every key; nothing connects before it is asked to."""
    from dagster._core.instance.config import dagster_instance_config

    (tmp_path / "dagster.yaml").write_bytes((ROOT / "fashion_pipeline" / "dagster.yaml").read_bytes())
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql+psycopg2://nobody@localhost:1/none")
    settings, _ = dagster_instance_config(str(tmp_path))
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert settings["freshness"] == {"enabled": True}
    assert settings["schedules"]["use_threads"] is True
    assert set(POOL_LIMITS) == {"gpu", "index", "fetch"}
