"""Conditioning of one step, as the WebUI hands it to ``on_cfg_denoiser``.

Axes: n rows, t tokens, c channels of the text encoder.
"""

from __future__ import annotations

import torch
from modules import shared


def of_equal_length(cond, uncond):
    """Positive and negative conditioning with the same number of tokens.

    The WebUI runs them in separate calls when their lengths differ. Then prompts of any length would need a setting
    of the user's; so the shorter one is filled up here with the conditioning of an empty prompt, as that setting
    would do.
    """
    longest = max(tokens_of(cond).shape[1], tokens_of(uncond).shape[1])
    return _padded(cond, longest), _padded(uncond, longest)


def tokens_of(cond) -> torch.Tensor:
    """The tokens in a conditioning of the WebUI, of one picture or of a batch."""
    return cond["crossattn"] if isinstance(cond, dict) else cond  # SDXL has a pooled vector beside the tokens


def _padded(cond, num_tokens: int):
    tokens = tokens_of(cond)  # n t c
    if tokens.shape[1] == num_tokens:
        return cond
    tokens = torch.stack([filled_up(row, num_tokens) for row in tokens])
    if not isinstance(cond, dict):
        return tokens
    return type(cond)({**cond, "crossattn": tokens})


def filled_up(tokens: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """``(t c)`` with the conditioning of empty prompts behind it, as the WebUI fills up prompts."""
    missing = num_tokens - tokens.shape[0]
    if not missing:
        return tokens
    empty = shared.sd_model.cond_stage_model_empty_prompt.to(tokens)[0]  # t c
    chunks = -(-missing // empty.shape[0])
    return torch.cat([tokens, empty.repeat(chunks, 1)[:missing]])
