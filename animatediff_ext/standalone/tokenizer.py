"""CLIP's tokenizer, from wherever it lies.

A single-file checkpoint has none in it; every SD 1.5 and SDXL checkpoint uses the same one, OpenAI's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import snapshot_download
from transformers import CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from animatediff_ext.standalone.error import SpatialModelError

OPENAI_CLIP = "openai/clip-vit-large-patch14"
SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
_FILES = "vocab.json with merges.txt, or tokenizer.json"


def load_tokenizer(path: str | Path, vocab_size: int) -> CLIPTokenizerFast:
    """From a folder with vocab.json and merges.txt or tokenizer.json, or from OpenAI's bpe_simple_vocab_16e6.txt.gz.

    ``vocab_size`` is the number of tokens that the text encoder knows. Raises `SpatialModelError`.
    """
    path = Path(path)
    if not path.exists():
        raise SpatialModelError(f"The tokenizer {path} is not there: give a folder with {_FILES}.")
    tokenizer = _of_folder(path) if path.is_dir() else _of_merges(path, vocab_size)
    if len(tokenizer) > vocab_size:
        raise SpatialModelError.about(
            path,
            f"knows {len(tokenizer)} tokens, but the text encoder {vocab_size}: "
            "give the tokenizer that the text encoder was trained with.",
        )
    return tokenizer


def is_tokenizer(folder: Path) -> bool:
    has = [(folder / name).is_file() for name in ("vocab.json", "merges.txt", "tokenizer.json")]
    return all(has[:2]) or has[2]


def find_tokenizer(folders: Iterable[Path], vocab_size: int) -> CLIPTokenizerFast:
    """From the first of these folders that holds one, or else OpenAI's from the Hugging Face cache, or else from the
    network, once."""
    for folder in folders:
        if is_tokenizer(folder):
            return load_tokenizer(folder, vocab_size)
    return _of_hub()


def _of_folder(folder: Path) -> CLIPTokenizerFast:
    if not is_tokenizer(folder):
        raise SpatialModelError.about(folder, f"is a folder without a tokenizer: it needs {_FILES}.")
    try:
        return CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SpatialModelError.about(
            folder, f"holds a tokenizer that cannot be read ({type(error).__name__}): it needs {_FILES}."
        ) from error


def _of_hub() -> CLIPTokenizerFast:
    reason = None
    for local in (True, False):
        try:
            files = ["vocab.json", "merges.txt"]
            folder = Path(snapshot_download(OPENAI_CLIP, allow_patterns=files, local_files_only=local))
        except OSError as error:
            reason = error
            continue
        if is_tokenizer(folder):  # a cache may hold other files of the same repository only
            return _of_folder(folder)
    raise SpatialModelError(
        f"No tokenizer: a single-file checkpoint has none, and {OPENAI_CLIP} is neither in the Hugging Face cache nor "
        f"to be had from the network. Give tokenizer= a folder with {_FILES}, or OpenAI's "
        "bpe_simple_vocab_16e6.txt.gz; or put such a folder beside the checkpoint, under the name tokenizer."
    ) from reason


def _of_merges(path: Path, vocab_size: int) -> CLIPTokenizerFast:
    """OpenAI's CLIP publishes the merges alone (openai/CLIP, simple_tokenizer.py). Its vocabulary is every byte, every
    byte at the end of a word, the result of every merge, and two special tokens, in this order; the file has more
    merges than CLIP uses."""
    letters = list(bytes_to_unicode().values())
    num_merges = vocab_size - 2 * len(letters) - len(SPECIAL_TOKENS)
    merges = _lines_of(path)[1 : 1 + num_merges]  # the first line names the version
    if num_merges < 0 or len(merges) < num_merges or any(len(line.split()) != 2 for line in merges):
        raise SpatialModelError.about(
            path, f"is not CLIP's list of merges for {vocab_size} tokens: give a folder with {_FILES}."
        )
    words = [*letters, *(f"{x}</w>" for x in letters), *("".join(line.split()) for line in merges), *SPECIAL_TOKENS]
    with TemporaryDirectory() as folder:  # transformers reads files only
        vocabulary, rules = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
        rules.write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
        return CLIPTokenizerFast(vocab_file=str(vocabulary), merges_file=str(rules))


def _lines_of(path: Path) -> list[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            return stream.read().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SpatialModelError.about(
            path, f"is not a compressed list of merges ({error}): give a folder with {_FILES}."
        ) from error
