"""Tokenizers: a folder, OpenAI's list of merges, or one beside the checkpoint."""

import gzip
import json
import shutil

import pytest

from animatediff_ext.standalone import SpatialModelError, load_spatial_model, tokenizer
from animatediff_ext.standalone.tokenizer import load_tokenizer
from tests.models.spatial import (
    MERGES,
    words,
    write_file,
    write_tokenizer,
)


def test_openais_list_of_merges_gives_the_same_ids_as_the_folder(tmp_path):
    folder = write_tokenizer(tmp_path / "tokenizer")
    more = [*MERGES, "x y", "y z"]  # OpenAI's file has more merges than its model uses
    with gzip.open(tmp_path / "merges.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(['"version"', *more, ""]))
    size = len(words())
    text = ["A red  CAT, a dog!", "käse 猫 🐈", ""]
    of_file, of_folder = (load_tokenizer(p, size) for p in (tmp_path / "merges.txt.gz", folder))
    assert of_file(text)["input_ids"] == of_folder(text)["input_ids"]
    assert of_file.get_vocab() == of_folder.get_vocab() == {word: i for i, word in enumerate(words())}


def test_a_folder_with_tokenizer_json_alone_is_a_tokenizer(tmp_path):
    whole = load_tokenizer(write_tokenizer(tmp_path / "tokenizer"), len(words()))
    (tmp_path / "fast").mkdir()
    whole.backend_tokenizer.save(str(tmp_path / "fast" / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "fast", len(words()))("a red cat") == whole("a red cat")


def test_a_files_own_tokenizer_comes_before_the_common_one(tmp_path):
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    (tmp_path / "tokenizer" / "vocab.json").write_text("damaged")
    with pytest.raises(SpatialModelError, match=r"^tokenizer holds a tokenizer that cannot be read"):
        load_spatial_model(file)
    write_tokenizer(tmp_path / "tiny.tokenizer")
    load_spatial_model(file)


def test_no_tokenizer_anywhere_says_how_to_give_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "OPENAI_CLIP", "nobody/no-such-tokenizer")
    file = write_file(tmp_path / "tiny.safetensors", "SD 1.5")
    shutil.rmtree(tmp_path / "tokenizer")
    with pytest.raises(SpatialModelError, match=r"^No tokenizer: .*Give tokenizer= a folder with vocab.json"):
        load_spatial_model(file)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "^The tokenizer .* is not there: give a folder with vocab.json"),
        (lambda path: path.mkdir(), "^given is a folder without a tokenizer: it needs vocab.json"),
        (lambda path: path.write_text("a b"), "^given is not a compressed list of merges .*give a folder"),
        (lambda path: path.write_bytes(gzip.compress(b"v\na b")), "^given is not CLIP's list of merges for 520 tokens"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_says_why(make, sentence, models, tmp_path):
    make(tmp_path / "given")
    with pytest.raises(SpatialModelError, match=sentence):
        load_spatial_model(models["SD 1.5"][1], tokenizer=tmp_path / "given")


def test_a_tokenizer_that_knows_more_tokens_than_the_text_encoder_says_so(models, tmp_path):
    folder = write_tokenizer(tmp_path / "large")
    more = {word: i for i, word in enumerate([*words(), "cats</w>"])}
    (folder / "vocab.json").write_text(json.dumps(more))
    with pytest.raises(
        SpatialModelError, match=r"^large knows 521 tokens, but the text encoder 520: give the tokenizer"
    ):
        load_spatial_model(models["SD 1.5"][1], tokenizer=folder)
