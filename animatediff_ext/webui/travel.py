"""Prompts that travel, in the WebUI.

The WebUI turns the prompts of a batch into schedules: for each picture, which conditioning holds until which step. Here
it gets the prompts of the keys instead, and what it gives back is blended into a schedule for each frame. So editing
(``[a:b:0.5]``), ``AND``, hires prompts and SDXL's pooled vectors work in travelling prompts as in any other.

Axes: n tokens, c channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from modules import shared

from animatediff_ext.params import Animation
from animatediff_ext.setting import SettingsError
from animatediff_ext.travel import BLENDS, FramePrompt, Travel, blended, parse_travel
from animatediff_ext.webui import changes
from animatediff_ext.webui.conditioning import filled_up
from animatediff_ext.webui.errors import AnimateDiffError

_PLACE = "\ue000"
"""A letter of nobody's, to find out what styles put in front of a prompt and behind it."""
_TAG = re.compile(r"<\w+:[^>]+>")


class PromptTravel:
    """The travelling prompts of one ``p``."""

    def __init__(self, p, animation: Animation):
        self._p = p
        self._animation = animation

    def prepare(self) -> None:
        """Stand between the WebUI and its text encoder."""
        original = self._p.get_conds_with_caching

        def get_conds(function, required_prompts, *args, **kwargs):
            try:
                travel = self._travel_of(required_prompts)
            except SettingsError as problem:
                raise AnimateDiffError(str(problem)) from problem
            if travel is None:
                return original(function, required_prompts, *args, **kwargs)
            # what was cached for the keys stays what it is; frames are blended anew from it
            conds = original(function, _same_kind(required_prompts, travel.prompts), *args, **kwargs)
            return _frames(travel, conds, BLENDS[self._animation.prompt_blend])

        changes.change(self._p, get_conds_with_caching=get_conds)

    def place_styles(self) -> None:
        """Around the whole of a travelling prompt: the WebUI puts them behind its last line, which is a key."""
        styles = shared.prompt_styles
        for field, apply in (
            ("prompts", styles.apply_styles_to_prompt),
            ("negative_prompts", styles.apply_negative_styles_to_prompt),
        ):
            before, place, behind = apply(_PLACE, self._p.styles).partition(_PLACE)
            for name in (f"all_{field}", f"all_hr_{field}"):
                texts = getattr(self._p, name, None)
                if texts and place and (before or behind):
                    texts[:] = [self._with_styles(text, before, behind) for text in texts]

    def _with_styles(self, text: str, before: str, behind: str) -> str:
        plain = text.removeprefix(before).removesuffix(behind)
        return "\n".join([before, plain, behind]).strip() if self.parsed(plain).travels else text

    def before_batch(self) -> None:
        """Say what may not be meant as it was understood."""
        p = self._p
        texts = [p.prompts[0], p.negative_prompts[0]]
        texts += [
            getattr(p, name)[0] for name in ("all_hr_prompts", "all_hr_negative_prompts") if getattr(p, name, None)
        ]
        for text in dict.fromkeys(texts):
            travel = self.parsed(text)
            for note in (*travel.notes, *_notes_on_networks(travel)):
                p.comment(note)

    def parsed(self, text: str) -> Travel:
        """Raises `TravelError`."""
        animation = self._animation
        return parse_travel(
            text,
            num_frames=animation.num_frames,
            fps=animation.output.fps,
            closed=animation.context.closed_loop in ("R+P", "A"),
        )

    def _travel_of(self, prompts: Sequence[str]) -> Travel | None:
        """Where all frames have one text, and that travels."""
        if len(prompts) != self._animation.num_frames or len(set(prompts)) > 1:
            return None
        travel = self.parsed(prompts[0])
        return travel if travel.travels else None


def schedule_of(travel: Travel) -> list[dict[str, float]]:
    """What each frame is told, for those who ask: prompt → share."""
    return [{prompt: round(share, 4) for prompt, share in frame.weights.items()} for frame in travel.frames]


def _notes_on_networks(travel: Travel) -> list[str]:
    """A LoRA is in the whole UNet, and so works on every frame."""
    tags = [set(_TAG.findall(key.text)) for key in travel.keys]
    moving = [tag for found in tags for tag in found if "→" in tag or "->" in tag]
    if moving:
        raise AnimateDiffError(
            f"{moving[0]} is to travel, but a LoRA has one weight for all frames: write it with one."
        )
    only_some = sorted(set().union(*tags) - set.intersection(*tags)) if tags else []
    return [f"{tag} stands in some keys only, but a LoRA works on all frames." for tag in only_some]


def _same_kind(required_prompts, prompts: Sequence[str]):
    """The WebUI's lists of prompts know what they are for."""
    kind = type(required_prompts)
    return list(prompts) if kind is list else kind(prompts, copy_from=required_prompts)


def _frames(travel: Travel, conds: Any, blend: Callable) -> Any:
    """Conditioning of the prompts → that of the frames, in the WebUI's own classes."""
    if not hasattr(conds, "batch"):  # of a negative prompt: it has no parts
        known = dict(zip(travel.prompts, _of_one_length(conds), strict=True))
        return [_schedule(frame, known, blend) for frame in travel.frames]
    known = dict(zip(travel.prompts, conds.batch, strict=True))
    counts = {len(parts) for parts in known.values()}
    if len(counts) > 1:
        raise AnimateDiffError(
            f"The keys of the prompt have {' and '.join(map(str, sorted(counts)))} parts joined by AND: give every key "
            "as many."
        )
    columns = [_column(travel, {prompt: parts[i] for prompt, parts in known.items()}, blend) for i in range(*counts)]
    batch = [list(parts) for parts in zip(*columns, strict=True)]
    return type(conds)(shape=(len(batch),), batch=batch)


def _column(travel: Travel, known: dict[str, Any], blend: Callable) -> list:
    """One AND part of every frame, with its weight between those of the keys."""
    lists = _of_one_length([part.schedules for part in known.values()])
    schedules = dict(zip(known, lists, strict=True))
    kind = type(next(iter(known.values())))
    return [
        kind(
            _schedule(frame, schedules, blend),
            sum(share * known[prompt].weight for prompt, share in frame.weights.items()),
        )
        for frame in travel.frames
    ]


def _of_one_length(schedules: Sequence[list]) -> list[list]:
    """The same with as many tokens in every conditioning as the longest one has."""
    longest = max(len(_tokens(entry.cond)) for schedule in schedules for entry in schedule)
    return [
        [type(entry)(entry.end_at_step, _filled(entry.cond, longest)) for entry in schedule] for schedule in schedules
    ]


def _tokens(cond):
    return cond["crossattn"] if isinstance(cond, dict) else cond  # SDXL has a pooled vector beside the tokens


def _filled(cond, num_tokens: int):
    tokens = filled_up(_tokens(cond), num_tokens)
    return {**cond, "crossattn": tokens} if isinstance(cond, dict) else tokens


def _schedule(frame: FramePrompt, schedules: dict[str, list], blend: Callable) -> list:
    """The steps at which any of the prompts changes, and what lies between the prompts until then."""
    used = {prompt: schedules[prompt] for prompt in frame.weights}
    ends = sorted({entry.end_at_step for schedule in used.values() for entry in schedule})
    entry = type(next(iter(used.values()))[0])
    return [entry(end, _blended(frame, {prompt: _at(used[prompt], end) for prompt in used}, blend)) for end in ends]


def _at(schedule: list, step: int):
    """As the WebUI picks (modules/prompt_parser.py, reconstruct_cond_batch)."""
    return next((entry.cond for entry in schedule if step <= entry.end_at_step), schedule[0].cond)


def _blended(frame: FramePrompt, conds: dict[str, Any], blend: Callable):
    """``(n c)``, or SDXL's dictionary with a pooled vector beside it."""
    first = next(iter(conds.values()))
    if len(conds) == 1:
        return first
    if not isinstance(first, dict):
        return blended(frame, conds.__getitem__, blend)
    return {name: blended(frame, lambda prompt, name=name: conds[prompt][name], blend) for name in first}
