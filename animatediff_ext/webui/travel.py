"""Prompts that travel, in the WebUI.

The WebUI turns the prompts of a batch into schedules: for each picture, which conditioning holds until which step. Here
it gets the prompts of the keys instead, and what it gives back is blended into a schedule for each frame. So editing
(``[a:b:0.5]``), ``AND``, hires prompts and SDXL's pooled vectors work in travelling prompts as in any other.

Axes: n tokens, c channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from modules import shared

from animatediff_ext.params import Animation
from animatediff_ext.travel import FramePrompt, Travel, blended, blends_of, travel_of
from animatediff_ext.travel.blend import Blend
from animatediff_ext.webui import changes, host
from animatediff_ext.webui.conditioning import filled_up, tokens_of
from animatediff_ext.webui.errors import AnimateDiffError, mistakes_said

Blends = tuple[Blend, Blend]
"""Of tokens, and of a pooled vector."""
_PLACE = "\ue000"
"""A letter of nobody's, to find out what styles put in front of a prompt and behind it."""
_TAG = re.compile(r"<\w+:[^>]+>")
_TAG_WITH_ARROW = re.compile(r"<\w+:[^<>\n]*(?:→|->)[^<>\n]*>")


class PromptTravel:
    """The travelling prompts of one ``p``."""

    def __init__(self, p, animation: Animation):
        self._p = p
        self._animation = animation

    def prepare(self) -> None:
        """Stand between the WebUI and its text encoder, and between it and its extra networks."""
        get_conds, parse = self._p.get_conds_with_caching, self._p.parse_extra_network_prompts

        def get_conds_of_frames(function, required_prompts, *args, **kwargs):
            with mistakes_said():
                found = self._travel_of(required_prompts)
            if found is None:
                return get_conds(function, required_prompts, *args, **kwargs)
            travel, style = found
            # what was cached for the keys stays what it is; frames are blended anew from it
            prompts = _same_kind(required_prompts, [style.around(prompt) for prompt in travel.prompts])
            conds = get_conds(function, prompts, *args, **kwargs)
            return _frames(travel, conds, blends_of(self._animation))

        def parse_each_once():
            hires = self._first_of("all_hr_prompts", "all_prompts")
            texts = {"extra_network_data": self._p.prompts[0], "hr_extra_network_data": hires}
            with mistakes_said():
                travels = {name: self._parsed(text, negative=False)[0].travels for name, text in texts.items()}
            parse()
            for name in filter(travels.get, travels):
                _each_once(getattr(self._p, name, None))

        changes.change(self._p, get_conds_with_caching=get_conds_of_frames, parse_extra_network_prompts=parse_each_once)

    def before_batch(self) -> None:
        """Say what may not be meant as it was understood."""
        p = self._p
        prompts = {
            "prompt": self._first_of("all_prompts"),
            "negative prompt": self._first_of("all_negative_prompts"),
            "hires prompt": self._first_of("all_hr_prompts", "all_prompts"),
            "negative hires prompt": self._first_of("all_hr_negative_prompts", "all_negative_prompts"),
        }
        said = set()
        for name, text in prompts.items():
            if text in said:
                continue
            said.add(text)
            travel, _ = self._parsed(text, negative="negative" in name)
            for note in travel.notes:
                p.comment(f"In the {name}: {note}")
            if "negative" not in name:  # where the WebUI reads no networks
                _check_networks(text)
                own = self._style(negative=False).if_around(text).taken_off(text)
                for note in _notes_on_networks(travel, own):
                    p.comment(note)

    def _first_of(self, *names: str) -> str:
        """What the first frame of this video has in the first of these lists that is there."""
        lists = filter(None, (getattr(self._p, name, None) for name in names))
        return next(lists)[self._p.iteration * self._animation.num_frames]

    def shares(self, text: str, *, negative: bool) -> list[dict[str, float]]:
        """What each frame is told by a prompt that travels, for those who ask: prompt → share. Empty if it stays."""
        travel, style = self._parsed(text, negative=negative)
        return [
            {style.around(prompt): round(share, 4) for prompt, share in frame.weights.items()}
            for frame in travel.frames
            if travel.travels
        ]

    def _parsed(self, text: str, *, negative: bool) -> tuple[Travel, Style]:
        """Raises `TravelError`. The WebUI has put styles around the whole text; here they go around each prompt. What
        it encodes has no tags of networks, and so this has none."""
        style = self._style(negative)
        if not negative:
            text, style = without_tags(text), Style(*map(without_tags, style))
        style = style.if_around(text)
        return travel_of(style.taken_off(text), self._animation), style

    def _style(self, negative: bool) -> Style:
        styles = shared.prompt_styles
        apply = styles.apply_negative_styles_to_prompt if negative else styles.apply_styles_to_prompt
        before, place, behind = apply(_PLACE, self._p.styles).partition(_PLACE)
        return Style(before, behind) if place and _PLACE not in behind else Style()

    def _travel_of(self, prompts: Sequence[str]) -> tuple[Travel, Style] | None:
        """Where all frames have one text, and that travels."""
        if len(prompts) != self._animation.num_frames or len(set(prompts)) > 1:
            return None
        travel, style = self._parsed(prompts[0], negative=getattr(prompts, "is_negative_prompt", False))
        return (travel, style) if travel.travels else None


class Style(NamedTuple):
    """What the user's styles put in front of a prompt, and behind it."""

    before: str = ""
    behind: str = ""

    def if_around(self, text: str) -> Style:
        """None at all where it is not: other scripts may have changed the text since."""
        return self if text.startswith(self.before) and text.endswith(self.behind) else Style()

    def taken_off(self, text: str) -> str:
        return text.removeprefix(self.before).removesuffix(self.behind)

    def around(self, prompt: str) -> str:
        return f"{self.before}{prompt}{self.behind}"


def without_tags(prompt: str) -> str:
    """Without tags of networks, as the WebUI takes them out of prompts that are not negative."""
    return _TAG.sub("", prompt)


def without_comments(prompt: str) -> str:
    """Without what the WebUI hides from a generation; a text that was typed still has it."""
    return re.sub(r"#[^\n]*", "", prompt) if host.setting("enable_prompt_comments") else prompt


def _each_once(data: dict[str, list] | None) -> None:
    """A LoRA whose tag stands in several keys is one LoRA: the WebUI would add it as often."""
    for networks in (data or {}).values():
        known: dict[str, list] = {}
        for network in list(networks):
            name, *how = network.items
            if known.setdefault(name, how) != how:
                weights = f"{':'.join(known[name])} and with {':'.join(how)}"
                raise AnimateDiffError(
                    f"{name} stands in the prompt with {weights}, but a LoRA has one for all frames: write it once."
                )
        networks[:] = {network.items[0]: network for network in networks}.values()


def _check_networks(text: str) -> None:
    """Raises `AnimateDiffError` for a LoRA whose weight is to travel."""
    moving = _TAG_WITH_ARROW.search(text)
    if moving:
        raise AnimateDiffError(
            f"{moving[0]} is to travel, but a LoRA has one weight for all frames: write it with one."
        )


def _notes_on_networks(travel: Travel, text: str) -> list[str]:
    """A LoRA is in the whole UNet, and so works on every frame. ``text`` is the prompt with its tags."""
    lines = text.split("\n")
    tags = [set(_TAG.findall(lines[key.line - 1])) for key in travel.keys]
    only_some = sorted(set().union(*tags) - set.intersection(*tags)) if tags else []
    return [f"{tag} stands in some keys only, but a LoRA works on all frames." for tag in only_some]


def _same_kind(required_prompts, prompts: Sequence[str]):
    """The WebUI's lists of prompts know what they are for."""
    kind = type(required_prompts)
    return list(prompts) if kind is list else kind(prompts, copy_from=required_prompts)


def _frames(travel: Travel, conds: Any, blends: Blends) -> Any:
    """Conditioning of the prompts → that of the frames, in the WebUI's own classes."""
    if not hasattr(conds, "batch"):  # of a negative prompt: it has no parts
        known = dict(zip(travel.prompts, _of_one_length(conds), strict=True))
        return [_schedule(frame, known, blends) for frame in travel.frames]
    known = dict(zip(travel.prompts, conds.batch, strict=True))
    counts = {len(parts) for parts in known.values()}
    if len(counts) > 1:
        raise AnimateDiffError(
            f"The keys of the prompt have {' and '.join(map(str, sorted(counts)))} parts joined by AND: give every key "
            "as many."
        )
    columns = [_column(travel, {prompt: parts[i] for prompt, parts in known.items()}, blends) for i in range(*counts)]
    batch = [list(parts) for parts in zip(*columns, strict=True)]
    return type(conds)(shape=(len(batch),), batch=batch)


def _column(travel: Travel, known: dict[str, Any], blends: Blends) -> list:
    """One AND part of every frame, with its weight between those of the keys."""
    lists = _of_one_length([part.schedules for part in known.values()])
    schedules = dict(zip(known, lists, strict=True))
    kind = type(next(iter(known.values())))
    return [
        kind(
            _schedule(frame, schedules, blends),
            sum(share * known[prompt].weight for prompt, share in frame.weights.items()),
        )
        for frame in travel.frames
    ]


def _of_one_length(schedules: Sequence[list]) -> list[list]:
    """The same with as many tokens in every conditioning as the longest one has."""
    longest = max(len(tokens_of(entry.cond)) for schedule in schedules for entry in schedule)
    return [
        [type(entry)(entry.end_at_step, _filled(entry.cond, longest)) for entry in schedule] for schedule in schedules
    ]


def _filled(cond, num_tokens: int):
    tokens = filled_up(tokens_of(cond), num_tokens)
    return {**cond, "crossattn": tokens} if isinstance(cond, dict) else tokens


def _schedule(frame: FramePrompt, schedules: dict[str, list], blends: Blends) -> list:
    """The steps at which any of the prompts changes, and what lies between the prompts until then."""
    used = {prompt: schedules[prompt] for prompt in frame.weights}
    ends = sorted({entry.end_at_step for schedule in used.values() for entry in schedule})
    entry = type(next(iter(used.values()))[0])
    return [entry(end, _blended(frame, {prompt: _at(used[prompt], end) for prompt in used}, blends)) for end in ends]


def _at(schedule: list, step: int):
    """As the WebUI picks (modules/prompt_parser.py, reconstruct_cond_batch)."""
    return next((entry.cond for entry in schedule if step <= entry.end_at_step), schedule[0].cond)


def _blended(frame: FramePrompt, conds: dict[str, Any], blends: Blends):
    """``(n c)``; or SDXL's dictionary, in which a pooled vector stands in one row with the sizes of the picture."""
    first = next(iter(conds.values()))
    if len(conds) == 1:
        return first
    of_tokens, of_pooled = blends
    if not isinstance(first, dict):
        return blended(frame, conds.__getitem__, of_tokens)
    return {
        name: blended(
            frame, lambda prompt, name=name: conds[prompt][name], of_tokens if name == "crossattn" else of_pooled
        )
        for name in first
    }
