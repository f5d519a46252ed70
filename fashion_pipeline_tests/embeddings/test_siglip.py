"""The architecture of FashionSigLIP with random weights: 203 million of them, 813 MB, made here."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.embeddings.checks import self_check
from fashion_pipeline.embeddings.decode import DecodeOptions, decode_image
from fashion_pipeline.embeddings.encoder import Encoder, cpu_has_bf16, load_encoder
from fashion_pipeline.embeddings.hub import Hub
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.pull import pull_model
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch
from fashion_pipeline_tests.embeddings.fakes import items, store
from fashion_pipeline_tests.embeddings.model_folders import siglip_config, write_folder
from fashion_pipeline_tests.embeddings.pictures import jpeg
from fashion_pipeline_tests.embeddings.test_pull import serving

TEXTS = ["Red, striped DRESS!", "a blue bag", "skirt " * 100]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("siglip") / "model", siglip_config())


def test_siglip_from_a_local_folder(folder: Path) -> None:
    import open_clip
    import torch

    ref = f"local-dir:{folder}"
    spec = read_spec(ref)
    assert spec.image_model_id.startswith("vit-base-patch16-siglip-224-")
    assert spec.preprocessing.size == (224, 224)
    assert spec.preprocessing.mean == spec.preprocessing.std == (0.5, 0.5, 0.5)
    assert spec.preprocessing.resize_mode == "squash"
    assert spec.text.context_length == 64

    model, _, preprocess = open_clip.create_model_and_transforms(ref)
    model.eval()
    tokenizer = open_clip.get_tokenizer(ref)
    files = [jpeg(seed, 300 + 50 * seed, 420) for seed in range(4)]
    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.open(io.BytesIO(data))) for data in files])
        images = model.encode_image(batch, normalize=True).numpy()
        texts = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    del model
    pixels = np.stack([decode_image(data, spec.preprocessing) for data in files])

    exact = load_encoder(ref, device="cpu", precision="fp32")
    np.testing.assert_allclose(exact.encode_images(pixels), images, atol=1e-5)
    np.testing.assert_allclose(exact.encode_texts(TEXTS), texts, atol=1e-5)
    exact.close()

    encoder = load_encoder(ref, device="cpu")
    assert encoder.precision == ("bf16" if cpu_has_bf16() else "fp32")
    ours = encoder.encode_images(pixels)
    assert np.min(np.sum(ours * images, axis=1)) >= 0.999
    _through_the_line(encoder, files, images)
    print(self_check(encoder))
    encoder.close()


def _through_the_line(encoder: Encoder, files: list[bytes], images: np.ndarray) -> None:
    stored, batches = store(files), list[EmbeddedBatch]()
    embed(
        items(stored),
        stored.__getitem__,
        spec=encoder.spec,
        encoder_factory=lambda: encoder,
        on_batch=batches.append,
        on_failure=lambda failure: pytest.fail(str(failure)),
    )
    (batch,) = batches
    found = dict(zip(batch.sha256, batch.vectors, strict=True))
    for sha256, expected in zip(stored, images, strict=True):
        assert float(found[sha256] @ expected) >= 0.999


def test_draft_mode_keeps_the_vector(folder: Path) -> None:
    encoder = load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32")
    shape = encoder.spec.preprocessing
    files = [jpeg(seed, 1200, 1600) for seed in range(3)]
    full = encoder.encode_images(np.stack([decode_image(data, shape) for data in files]))
    draft = np.stack([decode_image(data, shape, DecodeOptions(draft=True)) for data in files])
    assert np.min(np.sum(full * encoder.encode_images(draft), axis=1)) >= 0.999
    encoder.close()


def test_the_architecture_is_pulled_from_two_repositories_and_checked(folder: Path, tmp_path: Path) -> None:
    with serving(folder, "timm/ViT-B-16-SigLIP") as hub:
        report = pull_model(
            tmp_path / "siglip",
            Hub(hub.endpoint),
            load=lambda ref: load_encoder(ref, device="cpu", precision="fp32"),
        )
    assert report.spec == read_spec(f"local-dir:{folder}")
    encoder = load_encoder(report.spec.ref, device="cpu")
    check = self_check(encoder)
    encoder.close()
    assert (check.golden, check.locked_files, check.context_length) == (True, 5, 64)
    assert check.draft.startswith("admitted")
    assert check.image_norm == pytest.approx(1.0, abs=1e-5)
