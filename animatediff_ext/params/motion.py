"""How much the motion module moves, and what is added to it."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.setting import Checked, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class Motion(Checked):
    """How much the motion module moves, where and when, and what is added to it.

    The texts are a number, or numbers that travel (`animatediff_ext.travel.values`).
    """

    effect: str = setting(
        "1",
        api="motion_effect",
        own_infotext=True,
        kind=str,
        number=True,
        label="Motion effect",
        elem_id="motion-effect",
        info="1: as trained, 0: unrelated images, more exaggerates; over frames such as 0: 0.2, 8 smooth: 1, 100%: 0.5",
    )
    effect_steps: str = setting(
        "1",
        api="motion_effect_steps",
        own_infotext=True,
        kind=str,
        number=True,
        label="Effect over sampling",
        elem_id="motion-effect-steps",
        info="a factor for the effect by the fraction of steps done, for example 0%: 1, 50% step: 1, 80%: 0",
    )
    scale: str = setting(
        "1",
        api="motion_scale",
        own_infotext=True,
        kind=str,
        number=True,
        label="Motion scale",
        elem_id="motion-scale",
        info="how sharply frames attend to each other: above 1 more motion, below 1 less; may travel over frames",
    )
    blocks: str = setting(
        "",
        api="motion_blocks",
        own_infotext=True,
        kind=str,
        label="Effect in blocks",
        elem_id="motion-blocks",
        info="a factor for the effect in parts of the UNet, for example down 0: 0.5, mid: 0, up 3.1: 1.2",
    )
    start: float = setting(
        0.0,
        api="motion_start",
        unit="share of the steps",
        own_infotext=True,
        kind=float,
        label="Motion from",
        elem_id="motion-start",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="at this fraction of the steps; before it frames are unrelated images",
    )
    end: float = setting(
        1.0,
        api="motion_end",
        unit="share of the steps",
        own_infotext=True,
        kind=float,
        label="Motion until",
        elem_id="motion-end",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="at this fraction of the steps; after it the module is out, and details of frames may drift apart",
    )
    positions: str = setting(
        "refuse",
        api="motion_positions",
        own_infotext=True,
        kind=str,
        label="Contexts longer than the module's maximum",
        elem_id="motion-positions",
        choices=("refuse", "stretch", "interpolate", "cap"),
        info="where Context batch size is larger than the motion module was trained for: stretch or interpolate its "
        "positions over all frames, or repeat (cap) the last",
    )
    second_module: str = setting(
        "",
        api="second_model",
        own_infotext=True,
        kind=str,
        label="Second motion module",
        elem_id="second-model",
        info="another one of the same family, to be blended with the first",
    )
    second_share: float = setting(
        0.5,
        api="second_model_share",
        info="0: the first module alone; 1: the second alone",
        own_infotext=True,
        kind=float,
        label="Weight of the second module",
        elem_id="second-model-share",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
    )
    loras: str = setting(
        "",
        api="motion_loras",
        own_infotext=True,
        kind=str,
        label="Motion LoRAs",
        elem_id="motion-loras",
        info="a line each: name = 0.8; with a weight that travels over frames name = 0: 0, 100%: 1, over sampling "
        "name @ 0%: 1, 60%: 0",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.start > self.end:
            raise SettingsError(
                f"Motion is to be from {self.start:g} until {self.end:g} of the steps: "
                "the end must not be before the start."
            )
