"""From prompts to the token ids that a CLIP text encoder reads, and what each token weighs.

CLIP reads a fixed number of tokens (77). A longer prompt is cut into chunks that are encoded one by one and joined
along the token axis; all prompts of one call get the same number of chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from transformers import CLIPTokenizerFast

from animatediff_ext.standalone.emphasis import Weighed, weighed


class Token(NamedTuple):
    id: int
    weight: float


def chunks_of(
    tokenizer: CLIPTokenizerFast, prompts: Sequence[str], chunk_length: int, *, as_written: bool = False
) -> list[list[list[Token]]]:
    """Tokens without the special ones, by prompt and chunk, at most ``chunk_length`` - 2 in each.

    A short prompt ends in empty chunks, an empty prompt is one empty chunk. ``as_written``: brackets are signs like any
    other, and weigh nothing.
    """
    room = chunk_length - 2  # the first and the last place belong to "start" and "end"
    rows = [_tokens(tokenizer, [(prompt, 1.0)] if as_written else weighed(prompt)) for prompt in prompts]
    num_chunks = max(1, *(-(-len(row) // room) for row in rows))
    return [[row[i * room : (i + 1) * room] for i in range(num_chunks)] for row in rows]


def _tokens(tokenizer: CLIPTokenizerFast, pieces: list[Weighed]) -> list[Token]:
    ids = tokenizer([text for text, _ in pieces], add_special_tokens=False, verbose=False)["input_ids"]
    return [Token(i, weight) for row, (_, weight) in zip(ids, pieces, strict=True) for i in row]


def framed(chunk: list[Token], tokenizer: CLIPTokenizerFast, *, pad: int, chunk_length: int) -> list[Token]:
    """One chunk between "start" and "end", filled up with ``pad`` to ``chunk_length``."""
    tokens = [Token(tokenizer.bos_token_id, 1.0), *chunk, Token(tokenizer.eos_token_id, 1.0)]
    return tokens + [Token(pad, 1.0)] * (chunk_length - len(tokens))


def token_ids(
    chunks: list[list[list[Token]]], tokenizer: CLIPTokenizerFast, *, pad: int, chunk_length: int
) -> torch.Tensor:
    """Ids of all chunks, ``(prompts, chunks, chunk_length)`` int64."""
    return torch.tensor(
        [
            [[token.id for token in framed(chunk, tokenizer, pad=pad, chunk_length=chunk_length)] for chunk in prompt]
            for prompt in chunks
        ]
    )


def emphasised(states: torch.Tensor, chunks: list[list[list[Token]]], chunk_length: int) -> torch.Tensor:
    """What a text encoder made of the chunks, ``(prompts, chunks x chunk_length, c)``, with the tokens' weights.

    As the WebUI does by default (modules/sd_emphasis.py, "Original"): every chunk keeps the mean that it had.
    """
    weights = torch.ones(len(chunks), len(chunks[0]), chunk_length)
    for i, prompt in enumerate(chunks):
        for j, chunk in enumerate(prompt):
            weights[i, j, 1 : 1 + len(chunk)] = torch.tensor([token.weight for token in chunk])
    if (weights == 1).all():
        return states
    plain = rearrange(states, "b (k n) c -> b k n c", k=len(chunks[0]))
    heavy = plain * weights[..., None].to(plain)
    mean = [x.mean(dim=(-2, -1), keepdim=True) for x in (plain, heavy)]
    touched = (weights != 1).any(dim=-1)[..., None, None].to(plain.device)
    return rearrange(torch.where(touched, heavy * (mean[0] / mean[1]), plain), "b k n c -> b (k n) c")
