"""Draft decoding: admitted where a measure says that the vectors stay, and nowhere else."""

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fashion_pipeline.embeddings.decode import DecodeOptions
from fashion_pipeline.embeddings.draft import (
    DRAFT_FILE,
    DraftMeasure,
    admitted_decode,
    hard_photos,
    measure_draft,
    read_draft,
    write_draft,
)
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch
from fashion_pipeline.errors import ModelError
from fashion_pipeline_tests.embeddings.fakes import items, store
from fashion_pipeline_tests.embeddings.pictures import encoded, jpeg


@pytest.fixture
def spec(tiny_folder: Path, tmp_path: Path) -> ModelSpec:
    return read_spec(f"local-dir:{shutil.copytree(tiny_folder, tmp_path / 'copy')}")


def measure(spec: ModelSpec, worst: float, pictures: int = 5) -> DraftMeasure:
    return DraftMeasure(spec.image_model_id, pictures, worst, 1.0)


def test_the_demo_model_keeps_its_vectors_on_hard_pictures_and_its_folder_says_so(demo_model: str) -> None:
    encoder = load_encoder(demo_model, device="cpu", precision="fp32")
    found = measure_draft(encoder, hard_photos())
    kept = read_draft(encoder.spec)
    encoder.close()
    assert found.pictures == 9
    assert found.worst_cosine >= 0.999
    assert kept is not None
    assert kept.pictures == 9
    assert kept.worst_cosine == pytest.approx(found.worst_cosine, abs=1e-4)
    assert admitted_decode(encoder.spec) == DecodeOptions(draft=True)


def test_the_demo_model_keeps_its_vectors_of_real_photos(demo_model: str, real_photos: Path) -> None:
    """The photos are 400 pixels wide, so they are enlarged to where draft decoding sets in."""
    encoder = load_encoder(demo_model, device="cpu", precision="fp32")

    def enlarged(path: Path) -> bytes:
        with Image.open(path) as photo:
            size = (1200, 1200 * photo.height // photo.width)
            return encoded(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS), "JPEG", quality=92)

    files = sorted(real_photos.glob("*/*.jpg"))[::50]
    found = measure_draft(encoder, map(enlarged, files))
    encoder.close()
    assert found.pictures == len(files) >= 15
    assert found.worst_cosine >= 0.999


def test_a_picture_that_draft_does_not_touch_is_no_evidence(tiny_encoder: Encoder) -> None:
    found = measure_draft(tiny_encoder, [jpeg(1, 100, 90), encoded(Image.new("RGB", (900, 900)), "PNG")])
    assert (found.pictures, found.admitted) == (0, False)


@pytest.mark.parametrize(
    ("worst", "pictures", "draft"), [(0.9991, 5, True), (0.9989, 5, False), (1.0, 0, False)]
)
def test_a_measure_admits_or_not(spec: ModelSpec, worst: float, pictures: int, draft: bool) -> None:
    assert admitted_decode(spec) == DecodeOptions(draft=False), "without a measure"
    write_draft(spec, measure(spec, worst, pictures))
    assert admitted_decode(spec) == DecodeOptions(draft=draft)


def test_a_measure_of_another_model_says_nothing(spec: ModelSpec) -> None:
    write_draft(spec, DraftMeasure("vit-other-000000000000", 9, 1.0, 1.0))
    assert read_draft(spec) is None
    assert not admitted_decode(spec).draft
    (spec.folder / DRAFT_FILE).write_text(json.dumps({"pictures": 3}))
    with pytest.raises(ModelError, match=r"draft\.json"):
        admitted_decode(spec)


def test_the_pipeline_decodes_as_the_folder_says(spec: ModelSpec) -> None:
    def modes(options: PipelineOptions | None = None) -> set[str]:
        stored, batches = store(jpeg(seed, 400, 500) for seed in range(3)), list[EmbeddedBatch]()
        encoder = load_encoder(spec.ref, device="cpu", precision="fp32")
        report = embed(
            items(stored),
            stored.__getitem__,
            spec=spec,
            encoder_factory=lambda: encoder,
            on_batch=batches.append,
            on_failure=lambda failure: pytest.fail(str(failure)),
            options=options,
        )
        encoder.close()
        return {batch.provenance.decode_mode for batch in batches} | {report.decode_mode}

    assert modes() == {"full"}
    write_draft(spec, measure(spec, 0.9995))
    assert modes() == {"draft"}
    assert modes(PipelineOptions(decode_options=DecodeOptions())) == {"full"}


def test_hard_photos_are_large_jpegs_and_the_same_each_time() -> None:
    first = next(hard_photos())
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size) == ("JPEG", (1200, 1600))
    assert next(hard_photos()) == first
