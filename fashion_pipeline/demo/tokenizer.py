"""The demo model's tokenizer: whole words of the captions, pieces for everything else.

Saved as the three files that FashionSigLIP's folder has, so that open_clip reads both through transformers
alike.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from fashion_pipeline.demo.wording import vocabulary

CONTEXT_LENGTH = 24
"""Tokens per text; the longest caption takes 18."""

_UNKNOWN = "<unk>"
_SPECIAL = ("<pad>", "</s>", _UNKNOWN)
_CHARACTERS = string.ascii_lowercase + string.digits
_ENDINGS = ("s", "es", "ed", "ing", "er", "y", "less", "ish")


def build() -> Tokenizer:
    """A WordPiece tokenizer over the caption words, single letters and digits; what remains is `<unk>`."""
    pieces = [*_SPECIAL, *vocabulary()]
    pieces += [c for c in _CHARACTERS if c not in pieces]
    pieces += [f"##{piece}" for piece in dict.fromkeys((*_CHARACTERS, *_ENDINGS))]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token=_UNKNOWN, max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Sequence(
        # "t-shirt" is one word, as open_clip's `canonicalize` makes it too.
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[-'’]"), ""),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocab["</s>"])]
    )
    return tokenizer


def save(folder: Path) -> int:
    """Write `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`; return the vocabulary's
    size.
    """
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_LENGTH,
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        **special,
    }
    tokenizer = build()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return tokenizer.get_vocab_size()
