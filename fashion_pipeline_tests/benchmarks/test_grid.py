"""1,000 stores x 80 days beside the demo: loading the definitions, and a tick that asks for every store."""

import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fashion_pipeline.definitions import build_definitions

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

STORES, DAYS = 1000, 80
#: Dagster stops a schedule's tick after this.
TICK_SECONDS = 60.0


def environ(folder: Path) -> dict[str, str]:
    return {
        "FASHION_PIPELINE_PROFILE": "embedded",
        "FASHION_PIPELINE_DATA": str(folder),
        "DATABASE_URL": "postgresql+psycopg://nobody@localhost:1/none",
    }


LOAD = "from fashion_pipeline.definitions import build_definitions as b; b().get_repository_def()"


def loaded(environment: dict[str, str]) -> float:
    """Seconds for what a code server does: a process that imports everything and builds the definitions."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LOAD], env=os.environ | environment, check=True, timeout=120)
    return time.perf_counter() - began


def test_a_thousand_stores_by_eighty_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = date(2026, 11, 27)
    stores = [
        {"id": f"store-{n:04}", "format": "google_xml", "location": f"https://shop{n}.example/feed.xml",
         "due_at": "00:00"}
        for n in range(STORES)
    ]  # fmt: skip
    feeds = tmp_path / "feeds.yaml"
    feeds.write_text(yaml.safe_dump({"first_day": last - timedelta(days=DAYS - 1), "stores": stores}))
    demo, large = environ(tmp_path / "a"), environ(tmp_path / "b") | {"FASHION_PIPELINE_FEEDS": str(feeds)}
    loaded(demo)
    pairs = [(loaded(demo), loaded(large)) for _ in range(3)]
    small, big = (statistics.median(times) for times in zip(*pairs, strict=True))
    definitions = build_definitions(large)
    moment = datetime.combine(last, clock(12), UTC)
    with (
        dg.DagsterInstance.local_temp() as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=moment,
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        began = time.perf_counter()
        tick = definitions.resolve_schedule_def("due_stores").evaluate_tick(context)
        seconds = time.perf_counter() - began
    with capsys.disabled():
        print(
            f"\ndefinitions: demo {small:.2f} s, {STORES} x {DAYS} {big:.2f} s: {big / small:.1f} x (goal 2)"
        )
        print(
            f"tick: {len(tick.run_requests)} runs asked for in {seconds:.2f} s (limit {TICK_SECONDS:.0f} s)"
        )
    assert len(tick.run_requests) == STORES
    assert seconds < TICK_SECONDS / 2
    # Goal: 2, on a quiet machine.
    assert big < 2.5 * small
