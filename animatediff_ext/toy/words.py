"""The vocabulary of the toy world, as a CLIP tokenizer.

Every word of a caption is one token. Any other text can be tokenized too, letter by letter.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from animatediff_ext.standalone.tokenizer import SPECIAL_TOKENS
from animatediff_ext.toy.scene import ANY_SHAPE, COLOURS, HEADINGS, SHAPES

END_OF_WORD = "</w>"
WORDS = ("moving", ANY_SHAPE, *COLOURS, *SHAPES, *HEADINGS)  # "a" is a letter


def merges() -> list[tuple[str, str]]:
    """What is joined, the earlier the sooner, until every word is one token.

    Byte-pair encoding always does the earliest of the merges that it can. So each word begins with what the merges so
    far make of it, and those that it adds cannot take the words before it apart.
    """
    found: list[tuple[str, str]] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + END_OF_WORD]
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            pair = min(pairs, key=lambda pair: found.index(pair) if pair in found else len(found))
            if pair not in found:
                found.append(pair)
            at = pairs.index(pair)
            parts[at : at + 2] = ["".join(pair)]
    return found


def write_tokenizer(folder: Path) -> CLIPTokenizerFast:
    """Write ``vocab.json`` and ``merges.txt``, and return what they make."""
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(x + END_OF_WORD for x in letters), *map("".join, merges()), *SPECIAL_TOKENS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    lines = ["#version: 0.2", *map(" ".join, merges()), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
