"""From prompts to the token ids that a CLIP text encoder reads.

CLIP reads a fixed number of tokens (77). A longer prompt is cut into chunks that are encoded one by one and joined
along the token axis; all prompts of one call get the same number of chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import CLIPTokenizerFast


def chunks_of(tokenizer: CLIPTokenizerFast, prompts: Sequence[str], chunk_length: int) -> list[list[list[int]]]:
    """Token ids without the special ones, by prompt and chunk, at most ``chunk_length`` - 2 in each.

    A short prompt ends in empty chunks, an empty prompt is one empty chunk.
    """
    room = chunk_length - 2  # the first and the last place belong to "start" and "end"
    ids = tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
    num_chunks = max(1, *(-(-len(row) // room) for row in ids))
    return [[row[i * room : (i + 1) * room] for i in range(num_chunks)] for row in ids]


def framed(chunk: list[int], tokenizer: CLIPTokenizerFast, *, pad: int, chunk_length: int) -> list[int]:
    """One chunk between "start" and "end", filled up with ``pad`` to ``chunk_length``."""
    ids = [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id]
    return ids + [pad] * (chunk_length - len(ids))


def token_ids(
    chunks: list[list[list[int]]], tokenizer: CLIPTokenizerFast, *, pad: int, chunk_length: int
) -> torch.Tensor:
    """Ids of all chunks, ``(prompts, chunks, chunk_length)`` int64."""
    return torch.tensor(
        [[framed(chunk, tokenizer, pad=pad, chunk_length=chunk_length) for chunk in prompt] for prompt in chunks]
    )
