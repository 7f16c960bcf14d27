"""ControlNet's hints during one sampling: each row of the UNet gets the one of its frame.

ControlNet has one hint for all frames, or a tensor with one for each frame (twice, where positive and negative prompt
share a call), and adds what it makes of them to whatever rows the UNet is called with. Here they are cut before each
run of the UNet: to the frames of its window, once for each of its streams. They rest where ControlNet put them, which
is main memory where there are many, and are given back afterwards. What follows from a hint and is kept by ControlNet
(latents, features of T2I-Adapters, keys and values of IP-Adapters) is renewed with it.

Axes: f frames, k key frames, t tokens, c channels, h height, w width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from modules import devices
from torch import nn

from animatediff_ext.animate import check_positions
from animatediff_ext.inject.attach import Call
from animatediff_ext.motion.manner import Manner
from animatediff_ext.params import Animation
from animatediff_ext.webui.controlnet import Guidance
from animatediff_ext.webui.errors import AnimateDiffError
from animatediff_ext.webui.sparsectrl import SparseMotion


@contextmanager
def hints_cut(p, guidance: Guidance, animation: Animation) -> Iterator[Callable[[Call], None]]:
    """Lends what has to be called before each run of the UNet. Raises `AnimateDiffError`."""
    network = guidance.network()
    with ExitStack() as undo:
        cuts = _cuts(p, network, guidance, animation, undo) if network is not None else []
        run: tuple = ()

        def before_run(call: Call) -> None:
            nonlocal run
            now = (tuple(call.frames), tuple(call.streams), call.num_rows, bool(p.is_hr_pass), call)
            if now[:-1] != run[:-1]:
                for cut in cuts:
                    cut.to(list(call.frames), call.num_rows // len(call.frames), is_hires=now[3])
            run = now

        _let_sparse_motion_know(network, animation, lambda: run[-1], undo)
        _mark_prompts(p, network, undo)
        yield before_run


def _mark_prompts(p, network, undo: ExitStack) -> None:
    """ControlNet tells positive prompts from negative ones by marks, which it makes when sampling begins. The rounds of
    FreeInit that have fewer steps make their own later, and the WebUI those of the hires pass. There, in a still, an
    IP-Adapter goes on with what it made for the first pass; forgetting that (`_forget`), it would speak to the negative
    prompt as well. Other models keep to what ControlNet does in a still, where all prompts of the hires pass are
    positive to it."""
    mark = getattr(sys.modules.get(type(network).__module__), "mark_prompt_context", None)
    kinds = {getattr(param.control_model_type, "name", "") for param in getattr(network, "control_params", None) or ()}
    if mark:
        _mark_after(p, "setup_conds", ("c", "uc"), mark, undo)
    if mark and "IPAdapter" in kinds and hasattr(p, "calculate_hr_conds"):
        _mark_after(p, "calculate_hr_conds", ("hr_c", "hr_uc"), mark, undo)


def _mark_after(p, method: str, prompts: tuple[str, str], mark: Callable, undo: ExitStack) -> None:
    make = getattr(p, method)

    def make_and_mark() -> None:
        make()
        for name, positive in zip(prompts, (True, False), strict=True):
            mark(getattr(p, name), positive=positive)
            getattr(p, f"cached_{name}")[:] = None, None  # marks are made in place, and other requests share these

    setattr(p, method, make_and_mark)
    undo.callback(delattr, p, method)


def _cuts(p, network, guidance: Guidance, animation: Animation, undo: ExitStack) -> list[_Cut]:
    units = list(getattr(guidance.script, "enabled_units", ()))
    params = list(network.control_params or ())
    units = units if len(units) == len(params) else [None] * len(params)
    _halve_noise(p, animation.num_frames)
    cuts = []
    for param, unit in zip(params, units, strict=True):
        kind = getattr(param.control_model_type, "name", "")
        if kind == "IPAdapter":
            keys = guidance.keys_of(unit, animation.num_frames)
            cut = _Embeddings(param, keys, params, animation.num_frames, guidance.closed_loop)
        elif kind == "Controlllite":
            cut = _LightHints(param, animation.num_frames)
        else:
            cut = _Hints(p, network, param, animation.num_frames)
        undo.callback(cut.restore)
        cuts.append(cut)
    return cuts


def _of_frames(tensor: torch.Tensor, num_frames: int) -> torch.Tensor | None:
    """``(f …)``; None if it is one for all frames. Raises `AnimateDiffError`."""
    if len(tensor) == 1:
        return None
    if len(tensor) not in (num_frames, 2 * num_frames):
        raise AnimateDiffError(
            f"ControlNet has {len(tensor)} hints for {num_frames} frames: another extension changes its units. Turn it "
            "off for animations."
        )
    return tensor[:num_frames]


def _rows(of_frames: torch.Tensor, frames: Sequence[int], streams: int) -> torch.Tensor:
    """Of one run, stream-major as its rows are."""
    return of_frames[frames].repeat(streams, *[1] * (of_frames.ndim - 1))


class _Cut:
    """One unit's hints."""

    def to(self, frames: Sequence[int], streams: int, *, is_hires: bool) -> None:
        """Before a run with these frames, once for each of its streams."""
        raise NotImplementedError

    def restore(self) -> None:
        raise NotImplementedError


class _Hints(_Cut):
    """Of ControlNets, T2I-Adapters and the others: tensors that `ControlParams` holds."""

    def __init__(self, p, network, param, num_frames: int):
        self._p, self._network, self._param, self._num_frames = p, network, param, num_frames
        self._low, self._high = param.hint_cond, param.hr_hint_cond
        self._latents: dict[bool, torch.Tensor] = {}
        kind = getattr(param.control_model_type, "name", "")
        one_hint = kind == "T2I_StyleAdapter" or (kind == "T2I_Adapter" and param.cfg_injection)
        if one_hint and isinstance(self._low, torch.Tensor) and _of_frames(self._low, num_frames) is not None:
            raise AnimateDiffError(
                f"A ControlNet unit with a {kind.replace('_', '-')} takes one picture only"
                f"{' with Control Mode ControlNet is more important' if param.cfg_injection else ''}: give it a "
                "picture of its own."
            )

    def to(self, frames: Sequence[int], streams: int, *, is_hires: bool) -> None:
        param = self._param
        in_hires = is_hires and isinstance(self._high, torch.Tensor)
        whole = self._high if in_hires else self._low
        if not isinstance(whole, torch.Tensor):
            return
        of_frames = _of_frames(whole, self._num_frames)
        if of_frames is not None:
            self._learn_latents(of_frames, in_hires)
        device = devices.get_device_for("controlnet")
        hint = (whole if of_frames is None else _rows(of_frames, frames, streams)).to(device)
        param.hint_cond = hint  # forgets what was made of the last one
        # ControlNet tells the passes apart by sizes, which fails for hints that are latents (SparseCtrl); so it sees
        # those of one pass only.
        param.hr_hint_cond = hint if in_hires else None
        if in_hires in self._latents:
            param.used_hint_cond = hint
            param.used_hint_cond_latent = _rows(self._latents[in_hires], frames, streams).to(device)
        param.vision_hint_count = None
        _forget(param.control_model)

    def _learn_latents(self, of_frames: torch.Tensor, in_hires: bool) -> None:
        """Some preprocessors need hints as latents. Once one was made for a run, make those of all frames, instead of
        new ones for each window of each step."""
        if self._param.used_hint_cond_latent is not None and in_hires not in self._latents:
            self._latents[in_hires] = self._network.call_vae_using_process(self._p, of_frames)

    def restore(self) -> None:
        self._param.hint_cond, self._param.hr_hint_cond = self._low, self._high
        self._param.vision_hint_count = None
        _forget(self._param.control_model)


class _LightHints(_Cut):
    """Of ControlNet-LLLite, whose modules hold the picture themselves."""

    def __init__(self, param, num_frames: int):
        self._modules = list(param.control_model.modules.values())
        self._pictures = [module.cond_image for module in self._modules]
        self._of_frames = [_of_frames(picture, num_frames) for picture in self._pictures]

    def to(self, frames: Sequence[int], streams: int, *, is_hires: bool) -> None:
        for module, picture, of_frames in zip(self._modules, self._pictures, self._of_frames, strict=True):
            module.set_cond_image(picture if of_frames is None else _rows(of_frames, frames, streams))

    def restore(self) -> None:
        for module, picture in zip(self._modules, self._pictures, strict=True):
            module.set_cond_image(picture)


class _Embeddings(_Cut):
    """Of an IP-Adapter. ControlNet would take the mean of several pictures; here each frame has its own, and between
    key frames one goes over into the next."""

    def __init__(self, param, keys: Sequence[int] | None, params: Sequence, num_frames: int, closed: bool):
        self._model = param.control_model
        self._mean = self._model.image_emb
        # InstantID: a ControlNet that reads the embedding of the IP-Adapter before it
        self._readers = [reader for reader in params if reader.control_context_override is self._mean]
        self._of_frames: torch.Tensor | None = None  # f t c
        if keys is not None and isinstance(param.hint_cond, (list, tuple)) and len(param.hint_cond) == len(keys):
            with torch.no_grad():
                each = [self._model.ipadapter.get_image_emb(picture).cond_emb for picture in param.hint_cond]
            shares = shares_of_keys(keys, num_frames, closed).to(each[0])
            self._of_frames = torch.einsum("fk,ktc->ftc", shares, torch.cat(each))

    def to(self, frames: Sequence[int], streams: int, *, is_hires: bool) -> None:
        if self._of_frames is not None:
            self._use(self._mean._replace(cond_emb=_rows(self._of_frames, frames, streams)))
        _forget(self._model)  # of keys and values it keeps those of the first call

    def restore(self) -> None:
        self._use(self._mean)
        _forget(self._model)

    def _use(self, embedding) -> None:
        if len(embedding.uncond_emb) not in (1, len(embedding.cond_emb)):
            embedding = embedding._replace(uncond_emb=embedding.uncond_emb[:1])
        self._model.image_emb = embedding
        for reader in self._readers:
            reader.control_context_override = embedding


def shares_of_keys(keys: Sequence[int], num_frames: int, closed: bool) -> torch.Tensor:
    """What each key frame counts for each frame, on straight lines between them: ``(f k)``, rows sum to one.

    Outside of them the nearest one counts alone; with ``closed`` the last goes over into the first, as if the clip
    began anew.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    stops = [(keys[number], number) for number in order]
    if closed:
        (first, first_number), (last, last_number) = stops[0], stops[-1]
        stops = [(last - num_frames, last_number), *stops, (first + num_frames, first_number)]
    shares = torch.zeros(num_frames, len(keys))
    for frame in range(num_frames):
        before = max((stop for stop in stops if stop[0] <= frame), default=stops[0])
        after = min((stop for stop in stops if stop[0] > frame), default=before)
        way = after[0] - before[0]
        share = (frame - before[0]) / way if way > 0 else 0.0
        shares[frame, before[1]] += 1 - share
        shares[frame, after[1]] += share
    return shares


def _forget(control_model) -> None:
    """What a control model keeps of its last call."""
    if hasattr(control_model, "reset"):
        control_model.reset()


def _halve_noise(p, num_frames: int) -> None:
    """*inpaint_only+lama* mixes the hint into the first noise, for which there is one row for each frame."""
    noise = getattr(p.rng, "noise_modifier", None)
    if isinstance(noise, torch.Tensor) and len(noise) == 2 * num_frames:
        p.rng.noise_modifier = noise[:num_frames]


def _let_sparse_motion_know(network, animation: Animation, call: Callable[[], Call], undo: ExitStack) -> None:
    """The motion modules inside a SparseCtrl are called with nothing but rows: tell them of the frames."""
    models = [param.control_model for param in getattr(network, "control_params", None) or ()]
    # (LLLite has a dictionary called `modules`.)
    found = [m for model in models if isinstance(model, nn.Module) for m in nn.Module.modules(model)]
    sparse = {module: None for module in found if isinstance(module, SparseMotion)}
    for module in sparse:
        check_positions(animation, module.num_positions, "SparseCtrl")

    def with_manner(_module, args: tuple) -> tuple:
        manner = call().manner
        return args[0], Manner(num_frames=manner.num_frames, views=manner.views, positions=manner.positions)

    for module in sparse:
        undo.callback(module.register_forward_pre_hook(with_manner).remove)
