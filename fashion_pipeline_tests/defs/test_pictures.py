"""What the metadata of `image_embeddings` says of a run of the pipeline."""

from dataclasses import replace

import pytest

from fashion_pipeline.defs.assets.pictures import pipeline_metadata
from fashion_pipeline.embeddings.report import EmbedReport

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
