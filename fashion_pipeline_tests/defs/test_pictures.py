"""What the metadata of the picture assets says, and that a store's settings reach the fetcher."""

import time
from dataclasses import replace
from typing import Any

import pytest

from fashion_pipeline.defs.assets.pictures import pipeline_metadata
from fashion_pipeline.embeddings.report import EmbedReport
from fashion_pipeline_tests.line.shops import PictureServer, jpeg
from fashion_pipeline_tests.small_world import SECOND, SmallWorld, metadata

REPORT = EmbedReport(
    requested=1010,
    embedded=1000,
    failed={"truncated": 7, "decode_crashed": 3},
    seconds=90.0,
    stage_seconds={"read": 1.0, "decode": 60.0, "load": 10.0, "encode": 70.0, "write": 2.0},
    encoder_wait_share=0.125,
    images_per_second=12.5,
    device="NVIDIA H100",
    precision="bf16",
    decode_mode="draft",
    batch_size=256,
    workers=16,
    model_id="m",
    peak_memory=3 << 30,
    worker_peak_memory=200 << 20,
    device_peak_memory=5 << 30,
)


def test_a_run_says_what_it_did_and_what_it_cost() -> None:
    found = {name: value.value for name, value in pipeline_metadata(REPORT, 3.6).items()}
    assert "| truncated | 7 |" in found["failures"]
    assert "| decode_crashed | 3 |" in found["failures"]
    wanted = {
        "images_per_second": 12.5,
        "encoder_wait_percent": 12.5,
        "cost_per_1000_images": 0.09,
        "peak_memory_mib": 3072,
        "worker_peak_memory_mib": 200,
        "device_peak_memory_mib": 5120,
        "decode_workers": 16,
        "device": "NVIDIA H100",
        "precision": "bf16",
        "decode": "draft",
        "batch_size": "256",
        **{f"seconds_{name}": seconds for name, seconds in REPORT.stage_seconds.items()},
    }
    assert {name: value for name, value in found.items() if name != "failures"} == wanted


@pytest.mark.parametrize(("report", "price"), [(REPORT, None), (replace(REPORT, embedded=0), 3.6)])
def test_a_cost_is_shown_only_where_there_is_one(report: EmbedReport, price: float | None) -> None:
    assert "cost_per_1000_images" not in pipeline_metadata(report, price)


def test_own_hosts_and_their_pace_reach_the_fetcher(world: SmallWorld) -> None:
    assets = ["raw_feeds", "clean_products", "products", "product_images"]
    with PictureServer(robots=b"User-agent: *\nDisallow: /\n") as server:
        urls = {f"{n}.jpg": server.put(f"{n}.jpg", jpeg(n)) for n in range(6)}
        world.environ["FASHION_PIPELINE_ALLOWED_HOSTS"] = "127.0.0.1"
        rows = [world.row("alpha", 20 + n, image=url) for n, url in enumerate(urls.values())]
        world.feed("alpha", SECOND, [*world.rows("alpha"), *rows])

        def asked(**policy: object) -> dict[str, Any]:
            world.write_feeds_file(alpha={"images": policy})
            return metadata(world.run("line", day=SECOND, assets=assets), "product_images")

        refused = asked(own_hosts=["cdn.example"])
        assert (refused["fetched"], refused["failed"]) == (0, 6), "another's host: its robots.txt is obeyed"
        assert "| robots_disallowed | 6 |" in refused["failures"]
        assert asked(own_hosts=["cdn.example"])["due"] == 0
        assert server.asked == []
        # Once the host is the store's own, they are due by themselves.
        began = time.monotonic()
        found = asked(own_hosts=["127.0.0.1"], requests_per_second=5)
        assert time.monotonic() - began >= 5 / 5
        assert set(server.count()) == set(urls)
        size = sum(len(jpeg(n)) for n in range(6))
        assert [found[name] for name in ("due", "fetched", "new_pictures", "failed", "bytes", "known")] == [
            6, 6, 6, 0, size, 18,
        ]  # fmt: skip
        assert 0 < found["images_per_second"] <= 6
        (host,) = found["slowest_hosts"].records
        assert (host.data["host"], host.data["requests"], host.data["bytes"]) == ("127.0.0.1", 6, size)
        assert "data:image/webp;base64," in found["contact_sheet"]
