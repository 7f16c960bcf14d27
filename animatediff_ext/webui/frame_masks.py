"""Inpainting with a mask for each frame. The WebUI knows one mask for all pictures of a batch.

It prepares each frame here as if that were its only picture (with whatever it does to masks: blur, inversion, *Only
masked*), and the results are put together. Soft inpainting makes its own masks of all frames at once, for one place.

Axes: f frames, c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from modules.processing import create_binary_mask
from PIL import Image, ImageOps

from animatediff_ext.webui import changes
from animatediff_ext.webui.errors import AnimateDiffError

_ATTRIBUTE = "animatediff_frame_masks"
_SOFT = "Soft inpainting enabled"
"""What the WebUI's extension says in infotexts where it takes part."""
_PER_FRAME = ("init_images", "image_mask", "overlay_images", "mask_for_overlay", "paste_to", "color_corrections")
"""What the WebUI makes of one frame, beside tensors."""


def give(p, masks: Sequence[Image.Image]) -> None:
    """Note a mask for each frame of ``p``, where copies of it have them as well.

    Whoever asks for a mask before the WebUI prepares them gets the first one.
    """
    setattr(p, _ATTRIBUTE, list(masks))
    p.image_mask = masks[0]


class FrameMasks:
    """The masks of one ``p``, if it has some."""

    def __init__(self, p):
        self._p = p
        self._masks: Sequence[Image.Image] = getattr(p, _ATTRIBUTE, ())
        self._paste: list[tuple] = []
        """For each frame where it goes, and the mask that the WebUI returns with it."""

    def prepare(self) -> None:
        if self._masks:
            changes.change(self._p, init=self._init)

    def before_image(self, index: int) -> None:
        """The WebUI is about to paste frame ``index`` of a video back into its picture."""
        if self._paste:
            self._p.paste_to, self._p.mask_for_overlay = self._paste[index]

    def _init(self, all_prompts, all_seeds, all_subseeds) -> None:
        p = self._p
        pictures, masks = list(p.init_images), self._masks[: len(p.init_images)]
        only_masked, batch_size, own_corrections = p.inpaint_full_res, p.batch_size, p.color_corrections
        frames, self._paste = [], []
        try:
            p.batch_size = 1
            for i, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
                p.init_images, p.image_mask = [picture], mask
                p.mask = p.nmask = p.paste_to = p.overlay_images = None
                is_blank = only_masked and _is_blank(p, mask)  # of which the WebUI would paint everything
                p.inpaint_full_res, p.color_corrections = only_masked and not is_blank, own_corrections
                type(p).init(p, all_prompts, all_seeds[i : i + 1], all_subseeds[i : i + 1])
                if is_blank:
                    _show_the_picture(p, picture)
                frames.append({name: getattr(p, name) for name in (*_PER_FRAME, *_TENSORS)})
        finally:
            p.init_images, p.batch_size, p.inpaint_full_res = pictures, batch_size, only_masked
        self._paste = [(frame["paste_to"], frame["mask_for_overlay"]) for frame in frames]
        if _SOFT in p.extra_generation_params and len({place for place, _ in self._paste}) > 1:
            raise AnimateDiffError(
                "Soft inpainting pastes all frames back at one place, but with Only masked these masks have several: "
                "choose Whole picture (inpaint_full_res false), or switch Soft inpainting off."
            )
        self.before_image(0)
        p.image_mask = masks[0]
        p.overlay_images = [overlay for frame in frames for overlay in frame["overlay_images"]]
        if own_corrections is None and frames[0]["color_corrections"] is not None:
            p.color_corrections = [one for frame in frames for one in frame["color_corrections"]]
        for name, put_together in _TENSORS.items():
            setattr(p, name, put_together([frame[name] for frame in frames]))


_TENSORS = {
    "init_latent": torch.cat,  # f c h w
    "image_conditioning": torch.cat,
    "mask": torch.stack,  # of c h w
    "nmask": torch.stack,
}
"""… and how those of all frames become one."""


def _is_blank(p, mask: Image.Image) -> bool:
    binary = create_binary_mask(mask, round=p.mask_round)
    return (ImageOps.invert(binary) if p.inpainting_mask_invert else binary).getbbox() is None


def _show_the_picture(p, picture: Image.Image) -> None:
    """All of it, in the size that the other frames have when they have been pasted back."""
    p.paste_to = (0, 0, *picture.size)
    p.overlay_images = [picture.convert("RGBA")]
    p.mask_for_overlay = Image.new("L", picture.size)
