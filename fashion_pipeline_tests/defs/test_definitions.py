"""Everything that the definitions say before the first run: one picture of all assets, checks and jobs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.catalog.models import FeedSnapshot, Image, IndexEntry, Product
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs.executor import one_process
from fashion_pipeline.defs.policies import HEALTH_FRESHNESS, LINE_SECONDS
from fashion_pipeline.embeddings.shards import shard_schema
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.index.payload import payload_for
from fashion_pipeline.line.health import HEALTH_COLUMNS
from fashion_pipeline_tests.small_world import SmallWorld

ROOT = Path(__file__).resolve().parents[2]
DAY_STORE = "day x store"

#: asset: (deps, group, kinds, partitions, pool, checks that block, checks that warn)
ASSETS: dict[str, tuple[Any, ...]] = {
    "raw_feeds": (set(), "feeds", {"python"}, DAY_STORE, "fetch", set(), set()),
    "clean_products": (
        {"raw_feeds"},
        "feeds",
        {"python", "parquet"},
        DAY_STORE,
        None,
        {"clean_file_keeps_its_contract", "every_record_is_accounted_for", "guards_accept_the_snapshot"},
        set(),
    ),
    "products": ({"clean_products"}, "catalogue", {"postgres"}, DAY_STORE, None, set(), set()),
    "product_images": (
        {"products"}, "pictures", {"python"}, DAY_STORE, "fetch", set(),
        {"pictures_can_be_fetched", "pictures_show_the_products"},
    ),
    "image_embeddings": (
        {"product_images", "qdrant_collection"}, "pictures", {"pytorch", "parquet"}, DAY_STORE, "gpu", set(), set(),
    ),
    "product_points": (
        {"image_embeddings", "qdrant_collection"}, "index", {"qdrant"}, DAY_STORE, "index", set(),
        {"index_agrees_with_catalogue", "every_collection_follows"},
    ),
    "qdrant_collection": (set(), "index", {"qdrant"}, None, None, {"collection_can_serve"},
        {"whole_index_agrees"},
    ),
    "search_quality": (
        {"product_points"}, "reports", {"qdrant", "pytorch"}, None, "gpu", set(), {"search_holds_its_promotion"},
    ),
    "catalog_health": (
        {"product_points"}, "reports", {"postgres", "pandas"}, None, None, set(),
        {"no_store_needs_a_person", "no_store_is_late", "store_alpha", "store_beta"},
    ),
}  # fmt: skip

JOBS = {
    "line": {
        "raw_feeds", "clean_products", "products", "product_images", "image_embeddings", "product_points",
    },
    "collection": {"qdrant_collection"},
    "reconcile": set(),
    "quality": {"search_quality"},
    "health": {"catalog_health"},
    "housekeeping": set(),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Definitions over a server that is not there: loading them asks nobody."""
    folder = tmp_path_factory.mktemp("definitions")
    world = SmallWorld(folder / "data", "postgresql+psycopg://nobody@localhost:1/none", folder)
    world.write_feeds_file()
    return world


@pytest.fixture(scope="module")
def definitions(world: SmallWorld) -> dg.Definitions:
    return world.definitions


def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {
        spec.key.to_user_string(): spec
        for asset in definitions.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.specs
    }


def test_the_picture_of_all_assets(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found: dict[str, tuple[Any, ...]] = {}
    for name, spec in specs(definitions).items():
        node = graph.get(dg.AssetKey(name))
        checks = {True: set(), False: set()}
        for key in graph.asset_check_keys:
            if key.asset_key == spec.key:
                checks[graph.get_check_spec(key).blocking].add(key.name)
        partitions = None
        if spec.partitions_def is not None:
            assert isinstance(spec.partitions_def, dg.MultiPartitionsDefinition)
            partitions = " x ".join(sorted(each.name for each in spec.partitions_def.partitions_defs))
        (pool,) = node.pools or {None}
        found[name] = (
            {dep.asset_key.to_user_string() for dep in spec.deps},
            spec.group_name,
            set(spec.kinds),
            partitions,
            pool,
            checks[True],
            checks[False],
        )
    assert found == ASSETS


def test_every_asset_has_an_owner(definitions: dg.Definitions) -> None:
    owners = {name: list(spec.owners) for name, spec in specs(definitions).items()}
    assert owners == {name: ["team:catalogue"] for name in ASSETS}


def test_tags_tell_the_stage_and_what_is_written(definitions: dg.Definitions) -> None:
    tags = {name: (spec.tags["stage"], spec.tags["writes"]) for name, spec in specs(definitions).items()}
    order = ["qdrant_collection", *sorted(JOBS["line"], key=lambda name: tags[name]), "search_quality"]
    assert [tags[name][0][0] for name in order] == list("01234567")
    assert order[1:3] == ["raw_feeds", "clean_products"]
    assert tags["products"][1] == "postgres"
    assert tags["product_points"][1] == "qdrant"


def test_only_the_table_of_health_has_a_freshness_policy(definitions: dg.Definitions) -> None:
    policies = {name: spec.freshness_policy for name, spec in specs(definitions).items()}
    assert {name for name, policy in policies.items() if policy is not None} == {"catalog_health"}
    assert policies["catalog_health"] == HEALTH_FRESHNESS


def test_the_docstring_is_the_description_and_says_what_to_do(definitions: dg.Definitions) -> None:
    for name, spec in specs(definitions).items():
        description = spec.description or ""
        assert len(description) > 150, name
        assert re.search(
            r"\*\*(When .*(fail|falls|wrong)|Start here when something is wrong)", description
        ), name
        assert not re.search(r"^ ", description, re.MULTILINE), name


def test_every_check_says_what_it_compares_and_what_to_do(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.asset_check_keys:
        description = graph.get_check_spec(key).description or ""
        assert re.search(r"\*\*When it (fails|warns)\*\*", description), key.name
        assert len(description.split("\n")[0]) > 20, key.name


def test_the_line_shares_one_partitions_definition_and_its_checks_too(definitions: dg.Definitions) -> None:
    partitioned = {
        name: spec.partitions_def
        for name, spec in specs(definitions).items()
        if spec.partitions_def is not None
    }
    assert set(partitioned) == JOBS["line"]
    assert len(set(partitioned.values())) == 1
    checks = {
        spec.key.name: spec.partitions_def
        for check in definitions.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition)
        for spec in check.check_specs
    }
    for name in (
        "clean_file_keeps_its_contract",
        "guards_accept_the_snapshot",
        "index_agrees_with_catalogue",
        "every_collection_follows",
    ):
        assert checks[name] == partitioned["raw_feeds"]
    assert checks["collection_can_serve"] is None


@pytest.mark.parametrize(
    ("asset", "columns"),
    [
        ("clean_products", CLEAN_SCHEMA.names),
        ("image_embeddings", shard_schema().names),
        ("products", [column.name for column in Product.__table__.columns]),
        ("raw_feeds", [column.name for column in FeedSnapshot.__table__.columns]),
        ("product_images", [column.name for column in Image.__table__.columns]),
        ("qdrant_collection", [column.name for column in IndexEntry.__table__.columns]),
        ("product_points", list(payload_for({"id": "", "store_id": ""}))),
        ("catalog_health", [name for name, *_ in HEALTH_COLUMNS]),
    ],
)
def test_columns_show_before_the_first_run(
    definitions: dg.Definitions, asset: str, columns: list[str]
) -> None:
    schema = specs(definitions)[asset].metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableColumn | dg.TableSchema)
    assert [column.name for column in schema.columns] == columns
    assert all(column.type for column in schema.columns)


def test_jobs_hold_what_their_names_say(definitions: dg.Definitions) -> None:
    found = {}
    for name in JOBS:
        job = definitions.resolve_job_def(name)
        found[name] = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
        assert job.executor_def is one_process
        assert (job.partitions_def is not None) == (name == "line")
        assert job.description
    assert found == JOBS


def test_the_line_runs_its_checks(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_job_def("line").asset_layer.asset_graph.asset_check_keys
    assert {key.name for key in keys} == set().union(
        *(blocking | warning for name, (*_, blocking, warning) in ASSETS.items() if name in JOBS["line"])
    )


def test_every_step_is_tried_again_some_times(definitions: dg.Definitions) -> None:
    for asset in definitions.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        policy = asset.op.retry_policy
        assert policy is not None, asset.key
        assert 1 <= policy.max_retries <= 3


def test_no_io_manager_is_used(definitions: dg.Definitions) -> None:
    """Data lies in PostgreSQL, files and Qdrant: an I/O manager would pickle what assets return."""
    assert set(definitions.resources or {}) == {"database", "storage", "feeds", "vectors", "encoder"}
    for asset in definitions.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        assert all(each.dagster_type.is_nothing for each in asset.op.ins.values()), asset.key


def test_loading_makes_no_file_and_asks_no_server(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path / "data", "postgresql+psycopg://nobody@localhost:1/none", tmp_path)
    world.write_feeds_file()
    before = sorted(tmp_path.rglob("*"))
    dg.Definitions.validate_loadable(world.definitions)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_demo_world_loads_from_the_profile_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = build_definitions(
        {"FASHION_PIPELINE_PROFILE": "embedded", "FASHION_PIPELINE_DATA": str(tmp_path / "data")}
    )
    partitions = definitions.resolve_job_def("line").partitions_def
    assert partitions is not None
    assert len(partitions.get_partition_keys()) == 2 * 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("profile", [None, "server"])
def test_a_half_configured_world_is_refused_at_loading(profile: str | None) -> None:
    environment = {"FASHION_PIPELINE_PROFILE": profile} if profile else {}
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        build_definitions(environment)


def test_a_wrong_feeds_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "feeds.yaml"
    path.write_text(
        "first_day: 2026-11-02\nstores:\n  - id: a b\n    format: nonsense\n    location: https://x.example\n"
    )
    with pytest.raises(SettingsError) as caught:
        build_definitions({"FASHION_PIPELINE_PROFILE": "embedded", "FASHION_PIPELINE_FEEDS": str(path)})
    assert "feeds.yaml" in str(caught.value)
    assert "nonsense" in str(caught.value)


def test_dagster_validates_the_workspace(tmp_path: Path) -> None:
    """What `dagster dev` will load, from the root, with nothing but the profile."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dagster")), "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(tmp_path / "data"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Validation successful" in done.stdout + done.stderr
    # Our own part of the log is quiet: a warning at every load would hide the ones that matter.
    assert "fashion_pipeline" not in "\n".join(
        line for line in done.stderr.splitlines() if "Warning:" in line
    )


def test_the_instance_file_says_what_the_design_asks() -> None:
    import yaml

    instance = yaml.safe_load((ROOT / "fashion_pipeline" / "dagster.yaml").read_text())
    assert instance["storage"]["postgres"]["postgres_url"] == {"env": "DAGSTER_PG_URL"}
    (limit,) = instance["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit == {
        "key": "dagster/partition/store",
        "value": {"applyLimitPerUniqueValue": True},
        "limit": 1,
    }
    assert instance["concurrency"]["pools"]["default_limit"] == 1
    assert instance["run_monitoring"]["enabled"] is True
    assert instance["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    # What is started on assets in the UI has no tags of the job, and this alone.
    assert instance["run_monitoring"]["max_runtime_seconds"] == int(LINE_SECONDS)
    assert instance["telemetry"]["enabled"] is False
    assert instance["nux"]["enabled"] is False
