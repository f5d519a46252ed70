"""Captions name what is drawn, and the tokenizer reads them and everything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fashion_pipeline.demo import tokenizer
from fashion_pipeline.demo.garments import Garment, all_garments
from fashion_pipeline.demo.wording import caption, partial_caption

STRIPED = Garment("dress", "red", "striped", "white", "short")


def test_plain_caption_names_every_attribute_and_no_two_looks_share_one() -> None:
    assert caption(STRIPED) == "red and white striped short dress"
    assert caption(Garment("hat", "grey", "solid", None, "regular")) == "grey hat"
    garments = list(all_garments())
    assert len({caption(g) for g in garments}) == len(garments)


def test_other_captions_use_other_words_for_the_same_look() -> None:
    variants = {caption(STRIPED, variant=v) for v in range(1, 60)}
    assert len(variants) > 40
    assert variants == {caption(STRIPED, variant=v) for v in range(1, 60)}
    assert all("white" in text and ("red" in text or "scarlet" in text) for text in variants)
    assert all("strip" in text for text in variants)


def test_partial_captions_leave_things_out_as_searchers_do() -> None:
    partials = [partial_caption(STRIPED, variant=v) for v in range(400)]
    assert any("white" not in text for text in partials)
    assert any("strip" not in text for text in partials)
    assert any(text == "red striped dress" for text in partials)


def test_no_caption_has_unknown_words_or_is_cut() -> None:
    built = tokenizer.build()
    for garment in list(all_garments())[::53]:
        for variant in range(6):
            ids = built.encode(caption(garment, variant=variant)).ids
            assert built.token_to_id("<unk>") not in ids
            assert len(ids) <= tokenizer.CONTEXT_LENGTH
            assert ids[-1] == built.token_to_id("</s>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "red",
        "Zürich RÖD klänning",
        "漢字のドレス",
        "🧥🧢",
        "x" * 5000,
        "a\x00b\n\tc",
        "no-such-word 123",
        "<pad> </s>",
    ],
)
def test_any_text_is_encoded(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    size = tokenizer.save(tmp_path)
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    ids = loaded(
        [text], max_length=tokenizer.CONTEXT_LENGTH, padding="max_length", truncation=True
    ).input_ids[0]
    assert len(ids) == tokenizer.CONTEXT_LENGTH
    assert all(0 <= i < size for i in ids)


def test_unknown_words_fall_into_pieces_and_case_and_accents_do_not_matter() -> None:
    built = tokenizer.build()
    assert built.encode("RÉD").ids == built.encode("red").ids
    assert built.encode("reddish").tokens[:1] == ["red"]
    assert "<unk>" not in built.encode("quetzalcoatl 42").tokens


def test_saved_files_are_those_of_fashion_siglip(tmp_path: Path) -> None:
    size = tokenizer.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    assert len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]) == size
