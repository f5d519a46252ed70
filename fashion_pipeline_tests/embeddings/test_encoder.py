import gc
import io
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fashion_pipeline.demo
from fashion_pipeline.embeddings import encoder as module
from fashion_pipeline.embeddings.checks import make_golden, self_check
from fashion_pipeline.embeddings.decode import decode_image
from fashion_pipeline.embeddings.encoder import Encoder, cpu_has_bf16, load_encoder
from fashion_pipeline.embeddings.golden import GOLDEN_TEXT, golden_picture
from fashion_pipeline.embeddings.machine import available_cores
from fashion_pipeline.embeddings.open_clip_folder import check_preprocessing
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import BadVectorError, EncoderMemoryError, unit_vectors
from fashion_pipeline.errors import ModelError
from fashion_pipeline_tests.embeddings.model_folders import CONTEXT, tiny_config, write_folder
from fashion_pipeline_tests.embeddings.pictures import jpeg

TEXTS = ["Red striped dress!", "a blue bag with dotted skirt", "", "dress " * 40]


@pytest.fixture
def own(tiny_folder: Path) -> Encoder:
    """A model of its own, for tests that break it."""
    return load_encoder(f"local-dir:{tiny_folder}", device="cpu")


def test_vectors_equal_those_of_open_clip(tiny_folder: Path, tiny_encoder: Encoder) -> None:
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_folder}")
    files = [jpeg(seed, 100 + 30 * seed, 200 - 20 * seed) for seed in range(6)]
    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.open(io.BytesIO(data))) for data in files])
        theirs = model.encode_image(batch, normalize=True).numpy()
        their_texts = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    shape = tiny_encoder.spec.preprocessing
    ours = tiny_encoder.encode_images(np.stack([decode_image(data, shape) for data in files]))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(tiny_encoder.encode_texts(TEXTS), their_texts, atol=1e-5)
    # Different pictures differ by far more than the tolerance.
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3
    assert np.abs(their_texts[0] - their_texts[1]).max() > 1e-3


def test_vectors_do_not_hang_on_the_batch(tiny_encoder: Encoder) -> None:
    pixels = np.stack([decode_image(jpeg(seed), tiny_encoder.spec.preprocessing) for seed in range(5)])
    alone = np.concatenate([tiny_encoder.encode_images(image[None]) for image in pixels])
    np.testing.assert_allclose(tiny_encoder.encode_images(pixels), alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, atol=1e-6)


def test_nothing_in_nothing_out(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.encode_images(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 768)
    assert tiny_encoder.encode_texts([]).shape == (0, 768)


@pytest.mark.parametrize("pixels", [np.zeros((1, 32, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)])
def test_pixels_of_another_shape_are_refused(tiny_encoder: Encoder, pixels: Any) -> None:
    with pytest.raises(ModelError, match="takes uint8 images"):
        tiny_encoder.encode_images(pixels)


def test_template_wraps_the_query(tiny_folder: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    config = tiny_config() | {"text_template": "a {} with red"}
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    templated = load_encoder(f"local-dir:{copy}", device="cpu")
    np.testing.assert_allclose(
        templated.encode_texts(["dress"]), tiny_encoder.encode_texts(["a dress with red"]), atol=1e-6
    )


def test_nan_in_the_weights_never_leaves(own: Encoder) -> None:
    import torch

    with torch.no_grad():
        own._model.visual.proj.fill_(float("nan"))
    with pytest.raises(BadVectorError) as caught:
        own.encode_images(np.zeros((3, 64, 64, 3), np.uint8))
    assert caught.value.indices == (0, 1, 2)
    with torch.no_grad():
        own._model.visual.proj.zero_()
    with pytest.raises(BadVectorError):
        own.encode_images(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_guard_names_the_bad_rows(value: float) -> None:
    features = np.ones((4, 768), np.float32)
    features[1, 5] = value
    features[3] = 0.0
    with pytest.raises(BadVectorError) as caught:
        unit_vectors(features)
    assert caught.value.indices == (1, 3)


def test_guard_refuses_another_dimension() -> None:
    with pytest.raises(ModelError, match="512"):
        unit_vectors(np.ones((4, 512), np.float32))


def test_guard_keeps_the_direction_of_huge_and_tiny_rows() -> None:
    rows = np.stack([np.full(768, 3e37), np.full(768, 1e-9)]).astype(np.float32)
    np.testing.assert_allclose(unit_vectors(rows), 768**-0.5, rtol=1e-5)


def test_out_of_memory_has_a_name(own: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    pixels = np.zeros((2, 64, 64, 3), np.uint8)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
    ):

        def fail(*_: Any, raised: Exception = error, **__: Any) -> None:
            raise raised

        monkeypatch.setattr(own._model, "encode_image", fail)
        with pytest.raises(EncoderMemoryError):
            own.encode_images(pixels)
    monkeypatch.setattr(own._model, "encode_image", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        own.encode_images(pixels)


def test_load_never_touches_the_network_and_leaves_the_process_as_it_was(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers
    from huggingface_hub import constants

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seen: list[tuple[str | None, bool]] = []
    real = transformers.AutoTokenizer.from_pretrained

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append((os.environ.get("HF_HUB_OFFLINE"), constants.HF_HUB_OFFLINE))
        return real(*args, **kwargs)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", spy)
    handlers = list(logging.getLogger().handlers)
    encoder = load_encoder(f"local-dir:{tiny_folder}", device="cpu")
    assert encoder.encode_texts(["red dress"]).shape == (1, 768)
    assert seen == [("1", True)]
    assert "HF_HUB_OFFLINE" not in os.environ
    assert constants.HF_HUB_OFFLINE is False
    assert logging.getLogger().handlers == handlers
    assert gc.isenabled()


def test_weights_that_do_not_fit_the_config_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    config = tiny_config()
    config["model_cfg"]["vision_cfg"]["layers"] = 3
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not load"):
        load_encoder(f"local-dir:{copy}")
    assert gc.isenabled()


def test_garbage_is_not_looked_for_while_the_libraries_come() -> None:
    """In a process of its own, which has none of them yet."""
    loading = f"""
import gc
generations = []
gc.callbacks.append(lambda phase, info: generations.append(info["generation"]) if phase == "start" else None)
from fashion_pipeline.embeddings.encoder import load_encoder
before = len(generations)
load_encoder("local-dir:{Path(fashion_pipeline.demo.__file__).parent / "model"}", device="cpu")
print(len(generations) - before, len(gc.get_objects()))
"""
    done = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True)
    collections, watched = map(int, done.stdout.split())
    # Importing them makes a thousand otherwise, and half a million objects to go through ever after.
    assert collections < 50
    assert watched < 100_000
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size", (32, 32), "image size"),
        ("mean", (0.4, 0.4, 0.4), "mean"),
        ("std", (0.2, 0.2, 0.2), "std"),
        ("resize_mode", "shortest", "resize mode"),
        ("interpolation", "bilinear", "interpolation"),
    ],
)
def test_a_preprocessor_other_than_the_spec_is_refused(
    tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, words: str
) -> None:
    model = tiny_encoder._model
    monkeypatch.setattr(model.visual, "preprocess_cfg", model.visual.preprocess_cfg | {key: value})
    with pytest.raises(ModelError, match=words):
        check_preprocessing(tiny_encoder.spec, model)


def test_another_context_length_is_refused(own: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own._model, "context_length", CONTEXT + 1)
    with pytest.raises(ModelError, match="context length"):
        check_preprocessing(own.spec, own._model)


def test_a_tokenizer_of_another_model_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    path = copy / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["dress"] = 31_999
    path.write_text(json.dumps(content))
    encoder = load_encoder(f"local-dir:{copy}", device="cpu")
    with pytest.raises(ModelError, match="token 31999"):
        encoder.encode_texts(["a dress"])
    path.write_text("{}")
    with pytest.raises(ModelError, match="does not load"):
        load_encoder(f"local-dir:{copy}", device="cpu").encode_texts(["a dress"])


def test_a_plain_clip_without_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    config = tiny_config()
    config["model_cfg"]["custom_text"] = False
    config["model_cfg"]["text_cfg"] = {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 1,
    }
    encoder = load_encoder(f"local-dir:{write_folder(tmp_path / 'clip', config)}", device="cpu")
    assert encoder.encode_texts(["a red dress"]).shape == (1, 768)


def test_devices_and_precisions_that_are_not_there(tiny_folder: Path) -> None:
    ref = f"local-dir:{tiny_folder}"
    with pytest.raises(ModelError, match="precision 'fp8'"):
        load_encoder(ref, precision="fp8")
    with pytest.raises(ModelError, match="device 'abacus'"):
        load_encoder(ref, device="abacus")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no CUDA"):
            load_encoder(ref, device="cuda")


def test_bf16_is_admitted_only_close_to_fp32(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = f"local-dir:{tiny_folder}"
    encoder = load_encoder(ref, device="cpu", precision="bf16")
    assert encoder.precision == "bf16"
    pixels = np.stack([decode_image(jpeg(seed), encoder.spec.preprocessing) for seed in range(4)])
    exact = load_encoder(ref, device="cpu", precision="fp32")
    assert exact.precision == "fp32"
    cosines = np.sum(encoder.encode_images(pixels) * exact.encode_images(pixels), axis=1)
    assert np.all(cosines >= 0.999)
    assert np.any(cosines < 1 - 1e-7)  # it did compute in bf16
    monkeypatch.setattr(module, "_worst_cosine", lambda *_: 0.9985)
    with pytest.raises(ModelError, match=r"0\.99850"):
        load_encoder(ref, device="cpu", precision="bf16")
    monkeypatch.setattr(module, "_gains_from_bf16", lambda *_: True)
    assert load_encoder(ref, device="cpu").precision == "fp32"
    monkeypatch.setattr(module, "_worst_cosine", lambda *_: 0.9995)
    assert load_encoder(ref, device="cpu").precision == "bf16"


def test_small_models_stay_fp32_by_themselves(own: Encoder) -> None:
    assert own.precision == "fp32"


def test_bf16_of_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx512f avx512_bf16\n")
    assert cpu_has_bf16(cpuinfo)
    cpuinfo.write_text("flags\t\t: fpu avx512f\n")
    assert not cpu_has_bf16(cpuinfo)
    assert not cpu_has_bf16(tmp_path / "none")


def test_cores_follow_the_container(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert available_cores(quota) == 1
    quota.write_text("max 100000\n")
    assert available_cores(quota) == available_cores(tmp_path / "none") >= 1


def test_close_frees_the_model(own: Encoder) -> None:
    model = weakref.ref(own._model)
    own.close()
    assert model() is None


def test_self_check_reports_what_it_saw(tiny_encoder: Encoder, tiny_spec: ModelSpec) -> None:
    report = self_check(tiny_encoder)
    assert report.image_model_id == tiny_spec.image_model_id
    assert report.text_model_id == tiny_spec.text_model_id
    assert (report.device, report.precision, report.dimension) == ("cpu", "fp32", 768)
    assert report.image_norm == pytest.approx(1.0, abs=1e-5)
    assert report.text_norm == pytest.approx(1.0, abs=1e-5)
    assert report.images_per_second > 1
    image = tiny_encoder.encode_images(golden_picture(64, 64)[None])[0]
    assert report.cosine == pytest.approx(
        float(image @ tiny_encoder.encode_texts([GOLDEN_TEXT])[0]), abs=1e-5
    )
    assert "torch=" in report.libraries
    assert not report.golden


def test_golden_vectors_are_held_against(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    ref = f"local-dir:{copy}"
    first = load_encoder(ref, device="cpu")
    before = first.spec.image_model_id
    path = make_golden(first)
    good = path.read_text()
    again = load_encoder(ref, device="cpu")
    assert again.spec.image_model_id == before
    assert self_check(again).golden

    for side, action in (
        ("image", lambda: load_encoder(ref, device="cpu")),
        ("text", lambda: load_encoder(ref, device="cpu").encode_texts(["red"])),
    ):
        content = json.loads(good)
        content[side] = [-value for value in content[side]]
        path.write_text(json.dumps(content))
        with pytest.raises(ModelError, match=f"the {side} side .* golden"):
            action()

    path.write_text("{}")
    with pytest.raises(ModelError, match=r"golden\.json' cannot be read"):
        load_encoder(ref, device="cpu")
    path.write_text(good.replace(before, "vit-another-0123456789ab"))
    with pytest.raises(ModelError, match="belongs to vit-another"):
        load_encoder(ref, device="cpu")


def test_golden_vectors_are_fp32(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    with pytest.raises(ModelError, match="fp32"):
        make_golden(load_encoder(f"local-dir:{copy}", device="cpu", precision="bf16"))


def test_the_demo_model_loads_by_the_same_path() -> None:
    folder = Path(fashion_pipeline.demo.__file__).parent / "model"
    encoder = load_encoder(f"local-dir:{folder}", device="cpu")
    assert encoder.spec.preprocessing.size == (112, 112)
    picture = golden_picture(112, 112)[None]
    texts = encoder.encode_texts(["a red dress with white dots", "a blue bag"])
    right, wrong = (encoder.encode_images(picture) @ texts.T)[0]
    assert right > wrong
