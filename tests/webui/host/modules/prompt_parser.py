"""Text → conditioning, without a text encoder: the same words give the same random tokens.

``a AND b :0.5`` has two parts with weights, ``[a:b:0.5]`` changes half way, ``(a:1.2)`` weighs the tokens, and more
than eight words need a second chunk of tokens.
"""

import re
import zlib
from collections import namedtuple

import torch

TOKENS_OF_CHUNK, WIDTH, WORDS_OF_CHUNK = 3, 32, 8

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])


class SdConditioning(list):
    """A list of prompts that knows what it is for."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
        super().__init__(prompts)
        source = copy_from if copy_from is not None else prompts
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width, self.height = width or getattr(source, "width", None), height or getattr(source, "height", None)


class ComposableScheduledPromptConditioning:
    def __init__(self, schedules, weight=1.0):
        self.schedules, self.weight = schedules, weight


class MulticondLearnedConditioning:
    def __init__(self, shape, batch):
        self.shape, self.batch = shape, batch


def encode(text: str) -> torch.Tensor:
    weighed = re.fullmatch(r"\((.*):([\d.]+)\)", text)
    if weighed:
        return float(weighed[2]) * encode(weighed[1])
    chunks = max(1, -(-len(text.split()) // WORDS_OF_CHUNK))
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
    return torch.randn(chunks * TOKENS_OF_CHUNK, WIDTH, generator=generator)


def get_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    return [_schedules(prompt, hires_steps or steps) for prompt in prompts]


def get_multicond_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    batch = [
        [
            ComposableScheduledPromptConditioning(_schedules(text, hires_steps or steps), weight)
            for text, weight in map(_weighted, prompt.split(" AND "))
        ]
        for prompt in prompts
    ]
    return MulticondLearnedConditioning(shape=(len(prompts),), batch=batch)


def _weighted(text: str) -> tuple[str, float]:
    match = re.fullmatch(r"(.*?)(?:\s*:\s*([\d.]+))?", text.strip(), re.DOTALL)
    return match[1], float(match[2] or 1)


_CHANGE = re.compile(r"\[([^:\[\]]*):([^:\[\]]*):([\d.]+)\]")


def _schedules(text: str, steps: int) -> list[ScheduledPromptConditioning]:
    ends = sorted({int(float(match[3]) * steps) for match in _CHANGE.finditer(text)} | {steps})

    def at(end: int) -> str:
        return _CHANGE.sub(lambda match: match[1] if end <= int(float(match[3]) * steps) else match[2], text)

    return [ScheduledPromptConditioning(end, encode(at(end))) for end in ends]


def _now(schedules, step):
    return next((entry.cond for entry in schedules if step <= entry.end_at_step), schedules[0].cond)


def reconstruct_cond_batch(conds, current_step):
    return _stacked([_now(schedules, current_step) for schedules in conds])


def reconstruct_multicond_batch(conds, current_step):
    """Where the rows of each picture are, with their weights, and all rows."""
    rows, places = [], []
    for parts in conds.batch:
        places.append([(len(rows) + i, part.weight) for i, part in enumerate(parts)])
        rows += [_now(part.schedules, current_step) for part in parts]
    return places, _stacked(rows)


def _stacked(tensors):
    """Rows of equal length: the last token of the shorter ones is repeated."""
    longest = max(len(tensor) for tensor in tensors)
    return torch.stack([torch.cat([t, t[-1:].repeat(longest - len(t), 1)]) for t in tensors])
