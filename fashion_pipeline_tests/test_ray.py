"""Runs as jobs of a Ray cluster of two nodes, through the shipped deploy/ray/dagster.yaml and a real daemon."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.daemon import TODAY, Daemon, Run, dagster_dev, database_pair
from fashion_pipeline_tests.small_world import SmallWorld
from fashion_pipeline_tests.web import serving

pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'fashion-pipeline[ray]'")
pytest.importorskip("dagster_ray", reason="the extra `ray` is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # Ray's own.
    pytest.mark.filterwarnings("ignore"),
]

STORES = [f"store{number:02}" for number in range(20)]
LABELLED = STORES[:3]
ROWS = 6
ASSETS = ("raw_feeds", "clean_products", "products")


@pytest.fixture(scope="module")
def databases(postgres_url: str, template_database: str) -> Iterator[tuple[str, str]]:
    """URLs of our database and of Dagster's."""
    with database_pair(postgres_url, template_database) as pair:
        yield pair


@pytest.fixture(scope="module")
def cluster(databases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(Ray cluster, its second node, the daemon over it)."""
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("ray")
    ours, dagster_pg = databases
    world = SmallWorld(folder / "data", ours, folder / "pictures")
    before = dict(os.environ)
    # What each node of a real cluster has in its environment.
    os.environ.update(world.environ)
    os.environ |= {
        "DAGSTER_HOME": str(folder / "dagster_home"),
        "DAGSTER_PG_URL": dagster_pg,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PATH": f"{Path(os.sys.executable).parent}:{before['PATH']}",  # type: ignore[attr-defined]
    }
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2,
            "include_dashboard": True,
            "dashboard_port": 0,
            "object_store_memory": 10**8,
        },
    )
    try:
        os.environ["RAY_DASHBOARD_URL"] = f"http://{cluster.head_node.webui_url}"
        labelled = cluster.add_node(num_cpus=2, resources={"gpu_label": 2}, object_store_memory=10**8)
        cluster.wait_for_nodes()
        instance = (ROOT / "deploy" / "ray" / "dagster.yaml").read_bytes()
        with (
            serving() as web,
            dagster_dev(
                world,
                web,
                dagster_pg,
                folder,
                instance=instance,
                RAY_DASHBOARD_URL=os.environ["RAY_DASHBOARD_URL"],
            ) as daemon,
        ):
            for store in STORES:
                world.feed(store, TODAY, world.rows(store, ROWS))
            daemon.stores = {store: {"location": f"{{data}}/feeds/{store}-{{date}}.csv"} for store in STORES}
            daemon.write_feeds()
            daemon.reload()
            yield cluster, labelled, daemon
    finally:
        cluster.shutdown()
        for variable in set(os.environ) - set(before):
            del os.environ[variable]
        os.environ.update(before)
    world.database.dispose()


def nodes() -> dict[str, str]:
    """Node on which each run's process ran, by run id."""
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(os.environ["RAY_DASHBOARD_URL"]).list_jobs()
    return {
        str(job.metadata["dagster/run-id"]): str(job.driver_node_id)
        for job in jobs
        if job.metadata and "dagster/run-id" in job.metadata and job.driver_node_id
    }


def of_line(daemon: Daemon) -> list[Run]:
    return [run for run in daemon.runs() if run.store]


def test_twenty_stores_off_one_queue_on_two_nodes_and_one_node_is_killed(cluster: Any) -> None:
    ray_cluster, labelled, daemon = cluster
    tag = '{"num_cpus": 1, "resources": {"gpu_label": 1}}'
    for store in LABELLED:
        daemon.launch(store, TODAY, assets=ASSETS, tags={"dagster-ray/config": tag})
    said = daemon.command(
        "backfill", "--from", str(TODAY), *[word for s in STORES[3:] for word in ("--store", s)],
        *[word for asset in ASSETS for word in ("--asset", asset)],
    )  # fmt: skip
    assert "17 partitions" in said

    def labelled_done() -> bool:
        done = {run.store for run in of_line(daemon) if run.status == "SUCCESS"}
        return done >= set(LABELLED)

    daemon.wait("the labelled runs", labelled_done, seconds=600)
    second = labelled.node_id

    def busy() -> list[str]:
        started = {run.id for run in of_line(daemon) if run.status == "STARTED"}
        return [run for run, node in nodes().items() if node == second and run in started]

    killed = daemon.wait("a run on the second node", busy, seconds=300)
    where = nodes()
    workers = [daemon.worker_of(run) for run in killed]
    ray_cluster.remove_node(labelled, allow_graceful=False)
    for worker in workers:
        # With its machine go a run's processes; here they would outlive their node.
        if worker is not None:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def all_done() -> bool:
        return {run.store for run in of_line(daemon) if run.status == "SUCCESS"} >= set(STORES)

    daemon.wait("all stores", all_done, seconds=900)
    runs = {run.id: run for run in of_line(daemon)}
    where |= nodes()
    assert {where[run.id] for run in runs.values() if run.store in LABELLED} == {second}
    assert len({where[run_id] for run_id in runs if run_id in where}) == 2
    # What ran on the node that went was started again elsewhere, and nothing else was.
    again = [run for run in runs.values() if "dagster/parent_run_id" in run.tags]
    lost = {run_id for run_id in killed if runs[run_id].status != "SUCCESS"}
    assert {run.tags["dagster/parent_run_id"] for run in again} >= lost
    assert not again or {where[run.id] for run in again} == set(where.values()) - {second}
    # Nothing lost, nothing twice.
    products = daemon.world.table("SELECT store_id, count(*) AS n FROM products GROUP BY store_id")
    assert {row["store_id"]: row["n"] for row in products} == dict.fromkeys(STORES, ROWS)
    snapshots = daemon.world.table(
        "SELECT store_id, count(*) AS n, min(outcome) AS o FROM feed_snapshots GROUP BY 1"
    )
    assert {row["store_id"]: (row["n"], row["o"]) for row in snapshots} == dict.fromkeys(
        STORES, (1, "applied")
    )
