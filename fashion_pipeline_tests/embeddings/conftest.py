from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline_tests.embeddings.model_folders import tiny_config, write_folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model") / "tiny", tiny_config())


@pytest.fixture(scope="session")
def tiny_spec(tiny_folder: Path) -> ModelSpec:
    return read_spec(f"local-dir:{tiny_folder}")


@pytest.fixture(scope="session")
def tiny_encoder(tiny_folder: Path) -> Iterator[Encoder]:
    encoder = load_encoder(f"local-dir:{tiny_folder}", device="cpu", precision="fp32")
    yield encoder
    encoder.close()
