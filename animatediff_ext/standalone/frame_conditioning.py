"""What the UNet is told of every frame: a prompt that stays, or one that travels.

Axes: b rows at the UNet (streams x frames, stream-major), f frames, n tokens, c channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animatediff_ext.params import Animation
from animatediff_ext.standalone.spatial import Conditioning, SpatialModel
from animatediff_ext.travel import Travel, blended, blends_of, travel_of
from animatediff_ext.travel.blend import Blend


def encoded(
    spatial: SpatialModel,
    prompt: str,
    negative: str,
    animation: Animation,
    *,
    clip_skip: int = 1,
    cfg: float = 7.5,
    warn: Callable[[str], None] = lambda _sentence: None,
) -> Conditioning:
    """A row for each frame under the negative prompt, then one for each under the prompt; where nothing is guided
    (``cfg`` up to 1) the prompt's alone. ``animation`` is resolved.

    Both prompts may travel. ``warn`` gets the sentences on what may not be meant as it was understood. Raises
    `TravelError`.
    """
    texts = [negative, prompt] if cfg > 1 else [prompt]
    travels = [travel_of(text, animation) for text in texts]
    for note in dict.fromkeys(note for travel in travels for note in travel.notes):
        warn(note)
    prompts = list(dict.fromkeys(one for travel in travels for one in travel.prompts))
    rows = spatial.encode_text(prompts, clip_skip)  # in one call, so that all have the same number of tokens
    known = {one: rows.row(i) for i, one in enumerate(prompts)}
    streams = [_frames(travel, known, animation) for travel in travels]
    if cfg > 1 and not negative:
        streams[0] = spatial.unprompted(streams[0])
    return Conditioning.cat(streams)


def _frames(travel: Travel, known: dict[str, Conditioning], animation: Animation) -> Conditioning:
    """``(f n c)`` and ``(f c)``.

    The pooled vector goes along the line: in the WebUI it is one row with the sizes of the picture.
    """
    if not travel.travels:
        (only,) = travel.prompts
        return known[only].repeat_frames(animation.num_frames)

    def of(part: Callable[[Conditioning], torch.Tensor], blend: Blend) -> torch.Tensor:
        return torch.cat([blended(frame, lambda one: part(known[one]), blend) for frame in travel.frames])

    of_tokens, of_pooled = blends_of(animation)
    pooled = next(iter(known.values())).pooled is not None
    return Conditioning(
        of(lambda row: row.tokens, of_tokens), of(lambda row: row.pooled, of_pooled) if pooled else None
    )
