"""Text → conditioning, without a text encoder: the same words give the same random tokens.

``a AND b :0.5`` has two parts with weights, ``[a:b:0.5]`` changes half way, and more than eight words need a second
chunk of tokens.
"""

import re
import zlib
from dataclasses import dataclass

import torch

TOKENS_OF_CHUNK, WIDTH, WORDS_OF_CHUNK = 3, 32, 8


def encode(text: str) -> torch.Tensor:
    chunks = max(1, -(-len(text.split()) // WORDS_OF_CHUNK))
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
    return torch.randn(chunks * TOKENS_OF_CHUNK, WIDTH, generator=generator)


@dataclass(frozen=True)
class Part:
    text: str
    weight: float

    def at(self, step: int, steps: int) -> torch.Tensor:
        def chosen(match):
            before, after, when = match.groups()
            return before if step < float(when) * steps else after

        return encode(re.sub(r"\[(.*?):(.*?):(.*?)\]", chosen, self.text))


def parts_of(prompt: str) -> list[Part]:
    found = (re.fullmatch(r"(.*?)(?:\s*:\s*([\d.]+))?", text.strip()) for text in prompt.split(" AND "))
    return [Part(match[1], float(match[2] or 1)) for match in found]


def stacked(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Rows of equal length: the last token of the shorter ones is repeated."""
    longest = max(len(tensor) for tensor in tensors)
    return torch.stack([torch.cat([t, t[-1:].repeat(longest - len(t), 1)]) for t in tensors])
