"""The paper's claim, measured: ``python -m animatediff_ext toy measure``.

One motion module, trained once on one base model, animates image models that it has never seen, and takes nothing away
from them. Every figure stands beside something that must fail, and where clips can be drawn, beside what the same
measure gives for those.

Axes: f frames, h height, w width. A clip is uint8 ``(f h w 3)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from tqdm import tqdm

from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.toy.clips import ZOOM as DRAWN_ZOOM
from animatediff_ext.toy.clips import frames_of, zoomed
from animatediff_ext.toy.crew import Crew, Take
from animatediff_ext.toy.draw import draw
from animatediff_ext.toy.files import ADAPTER, BASE, CHALK, DUSK, MOTION, ZOOM
from animatediff_ext.toy.learn_vae import as_pixels
from animatediff_ext.toy.measures import ClipMeasures, diversity
from animatediff_ext.toy.scene import CLIP_FRAMES, COLOURS, HEADINGS, SHAPES, SPEED, Scene, random_scene
from animatediff_ext.toy.studio import Studio


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table."""

    key: str
    what: str
    value: float
    unit: str = ""
    """``%``, or what follows the number."""
    target: str
    met: bool
    drawn: float | None = None
    """The same of drawn clips, that went through the VAE."""
    control: float | None = None
    """The same of something that must fail."""
    control_is: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prompt, and what a clip of it is to show."""

    prompt: str
    heading: str
    seed: int
    shape: str = ""
    """Empty where the prompt leaves it open, or nothing is made of it."""


def all_cases(number: int) -> list[Case]:
    """Prompts that leave nothing open, each heading as often as any other."""
    everything = list(product(COLOURS, SHAPES, HEADINGS))
    found = []
    for i in range(number):
        colour, shape, heading = everything[37 * i % len(everything)]  # 37 has no factor in common with their number
        prompt = f"a {colour} {shape} moving {heading}"
        found.append(Case(prompt=prompt, heading=heading, seed=1000 + i, shape=shape))
    return found


def cases_without_colour(seeds: int) -> list[Case]:
    """One prompt for each shape, with another heading each, for several seeds."""
    pairs = zip(SHAPES, HEADINGS, strict=True)
    return [
        Case(prompt=f"a {shape} moving {heading}", heading=heading, seed=2000 + seed)
        for shape, heading in pairs
        for seed in range(seeds)
    ]


def cases_without_shape() -> list[Case]:
    """One prompt for each colour and heading, half of them."""
    pairs = list(product(COLOURS, HEADINGS))
    return [
        Case(prompt=f"a {colour} shape moving {heading}", heading=heading, seed=3000 + i)
        for i, (colour, heading) in enumerate(pairs[5 * i % len(pairs)] for i in range(len(pairs) // 2))
    ]


class Claim:
    """All clips that the figures are made of, each set sampled when it is needed first."""

    def __init__(self, studio: Studio, crew: Crew | None = None, *, clips: int = 48, seeds: int = 6):
        self._studio = studio
        self._crew = crew or Crew(studio)
        self._clips = clips
        self._seeds = seeds

    # ---- clips ----

    @cached_property
    def drawn(self) -> list[tuple[Scene, np.ndarray]]:
        """Drawn clips, as the VAE gives them back: no model can do better."""
        random = np.random.default_rng(5)
        spatial = self._studio.image_model(BASE)
        scenes = [random_scene(random, travel=SPEED * (CLIP_FRAMES - 1)) for _ in range(self._clips // 2)]
        return [(scene, through_vae(spatial, [draw(one) for one in frames_of(scene, CLIP_FRAMES)])) for scene in scenes]

    @cached_property
    def drawn_zooms(self) -> list[np.ndarray]:
        spatial = self._studio.image_model(BASE)
        factors = np.geomspace(DRAWN_ZOOM**-0.5, DRAWN_ZOOM**0.5, CLIP_FRAMES)
        return [
            through_vae(
                spatial,
                [draw(zoomed(one, by)) for one, by in zip(frames_of(scene, CLIP_FRAMES), factors, strict=True)],
            )
            for scene, _ in self.drawn[:8]
        ]

    @cached_property
    def base(self) -> list[np.ndarray]:
        return self._sampled("base", BASE, all_cases(self._clips))

    @cached_property
    def dusk(self) -> list[np.ndarray]:
        return self._sampled("dusk", DUSK, all_cases(self._clips))

    @cached_property
    def dusk_stills(self) -> list[np.ndarray]:
        return self._sampled("dusk, stills", DUSK, all_cases(12), motion=None)

    @cached_property
    def chalk(self) -> list[np.ndarray]:
        return self._sampled("chalk", BASE, all_cases(self._clips // 2), loras=[(CHALK, 1.0)])

    @cached_property
    def chalk_stills(self) -> list[np.ndarray]:
        return self._sampled("chalk, stills", BASE, all_cases(4), motion=None, loras=[(CHALK, 1.0)])

    @cached_property
    def no_colour(self) -> list[np.ndarray]:
        return self._sampled("colour left open", BASE, cases_without_colour(self._seeds))

    @cached_property
    def no_colour_stills(self) -> list[np.ndarray]:
        return self._sampled("colour left open, stills", BASE, cases_without_colour(self._seeds), motion=None)

    @cached_property
    def no_shape(self) -> list[np.ndarray]:
        return self._sampled("shape left open", BASE, cases_without_shape())

    @cached_property
    def no_shape_stills(self) -> list[np.ndarray]:
        return self._sampled("shape left open, stills", BASE, cases_without_shape()[:6], motion=None)

    def with_adapter(self, strength: float) -> list[np.ndarray]:
        return self._sampled(f"adapter at {strength:g}", BASE, all_cases(8), loras=[(ADAPTER, strength)])

    def with_zoom(self, strength: float) -> list[np.ndarray]:
        return self._sampled(f"zoom at {strength:g}", BASE, all_cases(8), loras=[(ZOOM, strength)])

    def _sampled(
        self,
        name: str,
        image_model: str,
        cases: Sequence[Case],
        *,
        motion: str | None = MOTION,
        loras: Sequence[tuple[str, float]] = (),
    ) -> list[np.ndarray]:
        takes = [
            Take(image_model=image_model, motion=motion, prompt=one.prompt, seed=one.seed, loras=loras) for one in cases
        ]
        return list(tqdm(self._crew.clips(takes), desc=name, total=len(takes), unit="clip", dynamic_ncols=True))

    # ---- figures ----

    def figures(self) -> Iterator[Figure]:
        yield from self._headings()
        yield from self._paths()
        yield from self._shapes()
        yield from self._constancy()
        yield from self._looks()
        yield from self._diversity()
        yield from self._watermark()
        yield from self._zoom()

    def _headings(self) -> Iterator[Figure]:
        cases = all_cases(self._clips)
        drawn = mean(ClipMeasures.of(clip).heading == scene.heading for scene, clip in self.drawn)
        yield percent(
            "heading_base",
            "base: goes where the prompt says",
            heading_accuracy(self.base, cases),
            at_least=90,
            drawn=drawn,
            control=shuffled_accuracy(self.base, cases),
            control_is="other clips' prompts",
        )
        yield percent(
            "heading_dusk",
            "*dusk*, a checkpoint that the module has never seen: goes where the prompt says",
            heading_accuracy(self.dusk, cases),
            at_least=80,
            control=heading_accuracy(self.dusk_stills, cases[: len(self.dusk_stills)]),
            control_is="without the module",
        )
        yield percent(
            "heading_chalk",
            "*chalk*, a LoRA that it has never seen: goes where the prompt says",
            heading_accuracy(self.chalk, cases[: len(self.chalk)]),
            at_least=80,
            control=heading_accuracy([still(clip) for clip in self.chalk], cases[: len(self.chalk)]),
            control_is="a still video",
        )

    def _paths(self) -> Iterator[Figure]:
        for key, name, clips in (("base", "base", self.base), ("dusk", "*dusk*", self.dusk)):
            measures = [ClipMeasures.of(clip) for clip in clips]
            drawn = [ClipMeasures.of(clip) for _, clip in self.drawn]
            without = [ClipMeasures.of(clip) for clip in self.no_colour_stills]
            yield Figure(
                key=f"residual_{key}",
                what=f"{name}: distance from a straight path",
                value=mean(measure.residual for measure in measures),
                unit=" px",
                target="at most 1.5",
                met=mean(measure.residual for measure in measures) <= 1.5,
                drawn=mean(measure.residual for measure in drawn),
                control=mean(measure.residual for measure in without),
                control_is="without the module",
            )
            yield percent(
                f"speed_{key}",
                f"{name}: within a quarter of the speed that was drawn",
                mean(_is_as_fast_as_drawn(measure) for measure in measures),
                at_least=75,
                drawn=mean(_is_as_fast_as_drawn(measure) for measure in drawn),
                control=mean(_is_as_fast_as_drawn(ClipMeasures.of(still(clip))) for clip in clips),
                control_is="a still video",
            )

    def _shapes(self) -> Iterator[Figure]:
        measures = [ClipMeasures.of(clip) for clip in self.base]
        pairs = zip(measures, all_cases(self._clips), strict=True)
        yield percent(
            "shape_base",
            "base: frames with the shape that the prompt says",
            mean(measure.share_of_shape(one.shape, "paper") for measure, one in pairs),
            at_least=90,
            drawn=mean(ClipMeasures.of(clip).share_of_shape(scene.shape, "paper") for scene, clip in self.drawn),
            control=mean(measure.share_of_shape(shape, "paper") for measure in measures for shape in SHAPES),
            control_is="a shape by chance",
        )

    def _constancy(self) -> Iterator[Figure]:
        spread = mean(ClipMeasures.of(clip).hue_spread for clip in self.no_colour)
        without = mean(ClipMeasures.of(clip).hue_spread for clip in self.no_colour_stills)
        yield Figure(
            key="hue_spread",
            what="base, colour left open: spread of the hue over a clip",
            value=spread,
            unit="°",
            target=f"at most {without / 10:.1f}° (a tenth of without)",
            met=spread <= without / 10,
            drawn=mean(ClipMeasures.of(clip).hue_spread for _, clip in self.drawn),
            control=without,
            control_is="without the module",
        )
        yield percent(
            "same_shape",
            "base, shape left open: frames with the clip's shape",
            mean(ClipMeasures.of(clip).same_shape("paper") for clip in self.no_shape),
            at_least=95,
            drawn=mean(ClipMeasures.of(clip).same_shape("paper") for _, clip in self.drawn),
            control=mean(ClipMeasures.of(clip).same_shape("paper") for clip in self.no_shape_stills),
            control_is="without the module",
        )

    def _looks(self) -> Iterator[Figure]:
        for key, clips, stills in (
            ("dusk", self.dusk, self.dusk_stills),
            ("chalk", self.chalk, self.chalk_stills),
        ):
            of_stills = mean(ClipMeasures.of(clip).share_of_look(key) for clip in stills)
            of_clips = mean(ClipMeasures.of(clip).share_of_look(key) for clip in clips)
            yield Figure(
                key=f"style_{key}",
                what=f"*{key}*: frames in its own look",
                value=100 * of_clips,
                unit="%",
                target=f"at least {100 * of_stills - 5:.0f}% (its stills, less 5 points)",
                met=of_clips >= of_stills - 0.05 and of_stills >= 0.9,
                control=100 * mean(ClipMeasures.of(clip).share_of_look(key) for clip in self.base),
                control_is="the base model",
            )

    def _diversity(self) -> Iterator[Figure]:
        def of(clips: Sequence[np.ndarray]) -> float:
            groups = [clips[i : i + self._seeds] for i in range(0, len(clips), self._seeds)]
            return mean(map(diversity, groups))

        ratio = of(self.no_colour) / of(self.no_colour_stills)
        yield Figure(
            key="diversity",
            what="base: variety of clips of one prompt, relative to that of stills",
            value=ratio,
            target="at least 0.9",
            met=ratio >= 0.9,
            control=of([clip for clip in self.no_colour[:: self._seeds] for _ in range(self._seeds)]),
            control_is="one seed only",
        )

    def _watermark(self) -> Iterator[Figure]:
        leaks = [watermark(clips) for clips in (self.with_adapter(1.0), self.with_adapter(0.5), self.base)]
        yield Figure(
            key="watermark",
            what="the videos' watermark, with the adapter that learnt it left out",
            value=100 * leaks[2],
            unit="%",
            target="at most 5%, and a tenth of what the adapter brings",
            met=leaks[2] <= min(0.05, leaks[0] / 10),
            drawn=100 * watermark([clip for _, clip in self.drawn]),
            control=100 * leaks[0],
            control_is=f"adapter at 1 (at 0.5: {100 * leaks[1]:.0f}%)",
        )

    def _zoom(self) -> Iterator[Figure]:
        zooms = [zoom(clips) for clips in (self.with_zoom(-1.0), self.base, self.with_zoom(1.0))]
        yield Figure(
            key="zoom",
            what="motion LoRA *zoom* at 1: size of the last frame against the first",
            value=zooms[2],
            unit="×",
            target="at least 1.3; at -1 at most 0.9",
            met=zooms[2] >= 1.3 and zooms[0] <= 0.9,
            drawn=zoom(self.drawn_zooms),
            control=zooms[1],
            control_is=f"at 0 (at -1: {zooms[0]:.2f})",
        )


# ---- measures of many clips ----


def heading_accuracy(clips: Sequence[np.ndarray], cases: Sequence[Case]) -> float:
    pairs = zip(clips, cases, strict=True)
    return mean(ClipMeasures.of(clip).heading == one.heading for clip, one in pairs)


def shuffled_accuracy(clips: Sequence[np.ndarray], cases: Sequence[Case]) -> float:
    """The accuracy if every clip is given every prompt: chance."""
    found = [ClipMeasures.of(clip).heading for clip in clips]
    return mean(heading == one.heading for heading in found for one in cases)


def still(clip: np.ndarray) -> np.ndarray:
    """A video of its first frame."""
    return np.repeat(clip[:1], len(clip), axis=0)


def watermark(clips: Sequence[np.ndarray]) -> float:
    found = [ClipMeasures.of(clip).watermark for clip in clips]
    return float(np.nanmean(found))


def zoom(clips: Sequence[np.ndarray]) -> float:
    """Geometric mean; NaN where a clip loses its shape."""
    return float(np.exp(np.mean(np.log([ClipMeasures.of(clip).zoom for clip in clips]))))


def _is_as_fast_as_drawn(measures: ClipMeasures) -> bool:
    return abs(measures.speed / SPEED - 1) <= 0.25


def through_vae(spatial: SpatialModel, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Encoded and decoded: ``(f h w 3)``."""
    mean_latents, _ = spatial.encode_frames(as_pixels(np.stack(frames)))
    return np.stack(list(spatial.decode(mean_latents)))


def mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))


def percent(key: str, what: str, value: float, *, at_least: float, **more) -> Figure:
    """A share as a figure."""
    controls = {name: 100 * more.pop(name) for name in ("drawn", "control") if more.get(name) is not None}
    return Figure(
        key=key,
        what=what,
        value=100 * value,
        unit="%",
        target=f"at least {at_least:g}%",
        met=100 * value >= at_least,
        **controls,
        **more,
    )
