"""One animated generation in the WebUI, from *before_process* to *postprocess*.

Everything that changes the host happens inside ``p.sample``, which is replaced on the one object ``p``. The WebUI
swallows exceptions of scripts and callbacks; so a problem found there is kept, and the next method of ``p`` that it
calls raises it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch
from modules import shared
from modules.processing import Processed, StableDiffusionProcessing, StableDiffusionProcessingImg2Img

from animatediff_ext.animate import Session
from animatediff_ext.infotext import entries
from animatediff_ext.inject import frame_major
from animatediff_ext.inject.attach import Call
from animatediff_ext.media.files import explained
from animatediff_ext.out_of_memory import is_out_of_memory
from animatediff_ext.webui import (
    arguments,
    changes,
    conditioning,
    host,
    infotext,
    job,
    late_changes,
    loras,
    peers,
    plot_words,
)
from animatediff_ext.webui.argument_object import ShownArgument
from animatediff_ext.webui.arrivals import Arrival
from animatediff_ext.webui.control_hints import hints_cut
from animatediff_ext.webui.errors import EXPECTED, NOT_ENOUGH_MEMORY, AnimateDiffError, mistakes_said, status_of
from animatediff_ext.webui.first_latent import FirstLatent
from animatediff_ext.webui.folders import without_folders
from animatediff_ext.webui.frame_masks import FrameMasks
from animatediff_ext.webui.free_init import sample_repeatedly
from animatediff_ext.webui.loras import MotionLoras
from animatediff_ext.webui.models import CACHE, short_hash
from animatediff_ext.webui.noise import check_generator, direct_hires_pass, directed, seeds_directed
from animatediff_ext.webui.preparation import Prepared, blend_for, prepared_for
from animatediff_ext.webui.travel import PromptTravel

_ATTRIBUTE = "animatediff_generation"
_LOG = logging.getLogger(__name__)


def generation_of(p) -> Generation | None:
    """The generation that belongs to this very ``p``, and not to one that it was copied from."""
    generation = getattr(p, _ATTRIBUTE, None)
    return generation if generation is not None and generation.p is p else None


def begin(
    p: StableDiffusionProcessing,
    script_args: Sequence,
    changed: Mapping[str, Any] | None = None,
    *,
    rescue: Callable[[Generation], None] = lambda _generation: None,
) -> None:
    """Set up ``p`` for an animation if one was asked for. Problems are raised when ``p`` begins its work.

    ``changed`` is what others have changed since in its arguments, by API name. ``rescue`` is called if the generation
    fails later on, perhaps with videos that are finished.
    """
    end(p)
    if getattr(p, "firstpass_image", None) is not None:  # ✨ in the gallery, on an animation: a GIF has a palette
        p.firstpass_image = p.firstpass_image.convert("RGB")
    # A new dictionary: a copy of p shares this one, and what it says, with the original.
    p.extra_generation_params = {k: v for k, v in p.extra_generation_params.items() if k not in infotext.KEYS}
    prepared = None
    try:
        with host.overrides_in_force(p):
            prepared = prepared_for(p, script_args, changed or {})
            generation = prepared and Generation(p, prepared, is_for_a_program=arguments.are_of_a_program(script_args))
        if generation is None:
            CACHE.clear()  # with AnimateDiff off, no memory is held
            loras.forget()
        else:
            generation.prepare(rescue)
            late_changes.heed(
                p,
                generation.argument,
                lambda now: begin(p, script_args, {**(changed or {}), **now}, rescue=rescue),
            )
    except Exception as problem:
        if prepared is not None:
            prepared.guidance.close()
        _forget_tensors(problem)  # and with them the file: Windows lets nobody replace one that is in use
        _fail(p, problem)


def end(p) -> None:
    """The fields of ``p`` as they were before `begin`. Its infotext stays: the answer shares it with ``p``."""
    running = generation_of(p)
    if running:
        running.guidance.close()
    changes.undo(p)
    job.finished()


def _one_video_for_each_prompt(p, num_frames: int) -> dict[str, Any]:
    """Scripts such as *Prompt matrix* give a list with a prompt for each picture; here each is that of a video."""
    counts = [len(texts) for texts in (p.prompt, p.negative_prompt) if isinstance(texts, list)]
    if not counts:
        return {}
    fields: dict[str, Any] = {"n_iter": max(counts)}
    for name in ("prompt", "negative_prompt"):
        if isinstance(getattr(p, name), list):
            fields[name] = [text for text in getattr(p, name) for _ in range(num_frames)]
    for name in ("seed", "subseed"):
        if isinstance(getattr(p, name), list):
            fields[name] = [int(seed) + i for seed in getattr(p, name) for i in range(num_frames)]
    return fields


def _fail(p, problem: Exception) -> None:
    def refuse(*_args, **_kwargs):
        raise _for_user(problem, p)

    # The first of its methods that the WebUI calls: ControlNet looks for files before the next one, and is around the
    # UNet before the last.
    changes.change(p, get_token_merging_ratio=refuse, setup_prompts=refuse, init=refuse)


def _for_user(problem: Exception, p) -> Exception:
    if is_out_of_memory(problem):
        shown = AnimateDiffError(NOT_ENOUGH_MEMORY, status_code=503)
    elif isinstance(problem, (AnimateDiffError, *EXPECTED)):
        sentence = without_folders(str(problem), p.outpath_samples) if p.is_api else str(problem)
        shown = AnimateDiffError(sentence, status_of(problem))
    else:
        return problem
    plot_words.tell(p, shown)
    return shown


def _forget_tensors(error: BaseException | None) -> None:
    """An exception knows the frames that it came through, and these what filled the memory. Its trace stays whole."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class Generation:
    """The state of one animated generation. It lives on its ``p`` and dies with it."""

    def __init__(self, p: StableDiffusionProcessing, prepared: Prepared, *, is_for_a_program: bool):
        animation = prepared.animation
        self.p = p
        self.is_for_a_program = is_for_a_program
        """Another extension had it made, or a client of the API."""
        self.animation = animation
        self.loaded = prepared.loaded
        self.guidance = prepared.guidance
        self.progress = prepared.progress
        self.interrupted: list[bool] = []
        """For each video, whether its sampling was cut short."""
        self.arrivals: list[Arrival] = []
        self._nothing_saved = p.do_not_save_samples
        self._session: Session | None = None
        self._is_denoising = False
        """Whether a sampler runs by now, which is where an interrupt is caught."""
        self._problem: Exception | None = None
        self._stopped = False
        self.argument = ShownArgument(p, animation)
        self.frame_masks = FrameMasks(p)
        self._first_latent = FirstLatent(p, animation)
        self._travel = PromptTravel(p, animation)
        self._loras = MotionLoras(p, animation)

    def prepare(self, rescue: Callable[[Generation], None]) -> None:
        """Change the fields of ``p`` that an animation needs otherwise."""
        p, animation, original, close = self.p, self.animation, self.p.sample, self.p.close
        is_img2img = isinstance(p, StableDiffusionProcessingImg2Img)
        digest = short_hash(self.loaded[0].name, self.loaded[0].path)
        said = partial(entries, is_img2img=is_img2img, short_hash=digest)
        p.extra_generation_params.update(said(animation))
        self.progress.now(frames=animation.num_frames)

        def sample(*args, **kwargs):
            self.progress.now(stage="sampling")
            with self._sampling() as session:
                once = partial(original, *args, **kwargs)
                p.rng = directed(p.rng, animation)
                with seeds_directed(p, animation):
                    samples = sample_repeatedly(p, animation, once) if animation.free_init.enabled else once()
            context = replace(animation.context, long_clips=session.long_clips)
            p.extra_generation_params.update(said(replace(animation, context=context)))
            self.progress.now(stage="decoding", step=None, steps=None, window=None, windows=None)
            return samples

        def release_and_close():  # `end` takes this back, so it is called after a failure only
            self.guidance.release()
            rescue(self)
            close()

        changes.change(
            p, sample=sample, close=release_and_close, batch_size=animation.num_frames, do_not_save_grid=True
        )
        changes.change(p, **_one_video_for_each_prompt(p, animation.num_frames), **{_ATTRIBUTE: self})
        self._travel.prepare()
        self.frame_masks.prepare()
        parse = p.parse_extra_network_prompts

        def parse_and_take():
            parse()
            with mistakes_said():
                self._loras.take_from_prompt()

        changes.change(p, parse_extra_network_prompts=parse_and_take)

    def keep_files(self) -> bool:
        """Whether videos go to the output folder, or only to whoever asked; by the settings of the request."""
        return shared.opts.samples_save and not self._nothing_saved

    def settle_samples(self) -> None:
        """Say whether the WebUI saves the frames itself, now that the settings of the request are in force."""
        as_samples = "PNG" in self.animation.output.formats and not shared.opts.animatediff_save_to_custom
        changes.change(self.p, do_not_save_samples=self._nothing_saved or not as_samples)

    @contextmanager
    def _sampling(self) -> Iterator[Session]:
        """Everything attached inside, nothing outside, and problems of callbacks raised at the end."""
        try:
            self._raise_kept_problem()
            host.check_unet_is_ours_to_use()
            check_generator(self.p.rng, self.animation)
            with hints_cut(self.p, self.guidance, self.animation) as cut_hints:

                def before_call(call: Call) -> None:
                    self._before_window()
                    cut_hints(call)

                session = Session(
                    self.animation,
                    blend_for(self.animation, self.loaded),
                    loras=self._loras.loaded(),
                    streams_at_once=host.streams_at_once(),
                    before_call=before_call,
                    guests=self.guidance.models(),
                )
                with session, host.all_rows_in_one_call():
                    self._session, self._is_denoising = session, False
                    self.attach()
                    yield session
            self._raise_kept_problem()
        except Exception as problem:
            shown = _for_user(self._problem or problem, self.p)
            # p and this object hold each other until the garbage collector comes; the weights need not wait for it.
            self.loaded = ()
            self.guidance.release()
            _forget_tensors(problem)
            _forget_tensors(self._problem)
            try:
                if shown is problem:
                    raise
                raise shown from problem
            finally:
                del shown  # it knows this frame
        finally:
            self._session = None
            if self._stopped:
                host.take_back_stop()

    def _before_window(self) -> None:
        if self._is_denoising:  # *img2img alternative test* runs the UNet before
            host.stop_if_interrupted()
        if self._session is not None:
            window, windows = self._session.window
            self.progress.now(window=window, windows=windows)

    def _raise_kept_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    @contextmanager
    def keeping_problems(self) -> Iterator[None]:
        """Around a callback whose exceptions the WebUI swallows: remember the first one and end the sampling."""
        try:
            yield
        except Exception as problem:
            self._problem = self._problem or problem
            if self._session is not None:
                self._stopped = host.stop_sampling() or self._stopped

    @contextmanager
    def failing_on_close(self, processed: Processed) -> Iterator[None]:
        """Around the last callback: closing ``p`` is the only thing after it that can still raise.

        Scripts that make copies of ``p`` do not close them; for them there are no pictures then, and a word why: among
        the comments, of which copies have the same, and in the log, since *Prompts from file* gives the API none.
        """
        p = self.p
        try:
            self._raise_kept_problem()
            with explained(Path(p.outpath_samples or ".")):
                yield
        except Exception as problem:
            raised, close = _for_user(problem, p), p.close
            processed.images, processed.infotexts, processed.index_of_first_image = [], [""], 0
            processed.comments = f"{processed.comments or ''}{raised}\n"
            p.comment(str(raised))
            _LOG.warning("No animation: %s", raised, exc_info=None if isinstance(raised, AnimateDiffError) else raised)

            def close_and_raise():
                close()
                raise raised

            p.close = close_and_raise

    def attach(self) -> None:
        """Modules into the UNet of the checkpoint that is loaded now: hires fix and refiner may have changed it."""
        if self._session is None:
            return
        if host.attach(self._session, self.p) and self.p.sampler is not None:
            host.renew_sampler(self.p)

    def before_sampling(self, noise: torch.Tensor | None) -> None:
        """Before each pass; ``noise`` is what it starts with."""
        self.attach()
        if self._session is not None and getattr(self.p, "enable_hr", False):
            self._rest_after(self.p.sampler, self._session)
        if self._session is not None and self.p.is_hr_pass and noise is not None:
            direct_hires_pass(self.p, noise, self.animation)

    def _rest_after(self, sampler, session: Session) -> None:
        """With hires fix the pictures of a pass are decoded, enlarged and encoded within ``p.sample``, where large ones
        want all the memory that there is. Samplers are made for one pass."""
        launch = sampler.launch_sampling

        def launched(*args, **kwargs):
            try:
                return launch(*args, **kwargs)
            finally:
                session.rest()

        sampler.launch_sampling = launched

    def before_batch(self) -> None:
        """One video begins: its prompts and its first latent are ready."""
        self.progress.now(stage="preparing", video=self.p.iteration + 1, videos=self.p.n_iter)
        peers.check_seeds(self.p, self.animation.num_frames)
        self._share_prompts()
        self._travel.before_batch()
        self._first_latent.prepare()

    def _share_prompts(self) -> None:
        """One prompt for all frames of a video: scripts with wildcards make a new one for every picture of a batch."""
        p, num_frames = self.p, self.animation.num_frames
        start = p.iteration * num_frames
        for name in ("all_prompts", "all_negative_prompts", "all_hr_prompts", "all_hr_negative_prompts"):
            prompts = getattr(p, name, None)
            if prompts:
                prompts[start : start + num_frames] = prompts[start : start + 1] * num_frames
        p.prompts = p.all_prompts[start : start + num_frames]
        p.negative_prompts = p.all_negative_prompts[start : start + num_frames]

    def before_denoising(self, params) -> None:
        """Before each evaluation of the model: ``params`` is the WebUI's ``CFGDenoiserParams``."""
        if self._session is None:
            return
        self._is_denoising = True
        host.attach(self._session, self.p)
        num_rows = params.text_cond.shape[0] + params.text_uncond.shape[0]
        height, width = params.x.shape[-2:]
        step, num_steps = params.denoiser.step, params.denoiser.total_steps
        self.progress.now(step=min(step + 1, num_steps), steps=num_steps, hires_pass=self.p.is_hr_pass)
        self._session.at_step(step, num_steps, num_rows=num_rows, height=height, width=width)
        peers.check_regions(self.p, self._session)
        num_conditions, rest = divmod(params.text_cond.shape[0], self.animation.num_frames)
        if rest:
            raise AnimateDiffError(
                f"{params.text_cond.shape[0]} prompts came for {self.animation.num_frames} frames: "
                "use the same number of AND parts for every frame."
            )
        self._session.use_rows(frame_major(self.animation.num_frames, num_conditions))
        params.text_cond, params.text_uncond = conditioning.of_equal_length(params.text_cond, params.text_uncond)

    def prompt_shares(self) -> dict[str, list[dict[str, float]]]:
        """What each frame of the first video was told by the prompts that travel: prompt → share."""
        p = self.p
        found = {
            "prompt": self._travel.shares(p.all_prompts[0], negative=False),
            "negative_prompt": self._travel.shares(p.all_negative_prompts[0], negative=True),
        }
        return {name: shares for name, shares in found.items() if shares}

    def after_batch(self) -> None:
        """One video has been sampled."""
        self.interrupted.append(shared.state.interrupted or shared.state.skipped)

    def frame_arrived(self, given) -> None:
        """A frame is as the WebUI makes it; ``given`` is the WebUI's ``PostprocessImageArgs``."""
        p = self.p
        if not self.arrivals or self.arrivals[-1].number != p.iteration:
            first = p.iteration * self.animation.num_frames
            about = {"seed": p.all_seeds[first], "prompt": p.all_prompts[first], "infotext": host.infotext_of(p, 0)}
            self.arrivals.append(Arrival(number=p.iteration, **about))
        self.arrivals[-1].given.append(given)
