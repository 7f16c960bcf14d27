"""What the noise of the frames has in common."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.setting import Checked, setting


@dataclass(frozen=True, kw_only=True)
class Noise(Checked):
    """What the noise of the frames has in common (`animatediff_ext.noise.kinds`)."""

    kind: str = setting(
        "independent",
        api="noise_kind",
        own_infotext=True,
        kind=str,
        label="Noise",
        elem_id="noise-kind",
        choices=("independent", "shared", "mixed", "repeated", "FreeNoise"),
        info="independent: of each frame's own seed; repeated and FreeNoise: of the first context, again and again, "
        "which keeps long clips consistent; mixed: partly the same for all; shared: the same for all",
    )
    share: float = setting(
        0.5,
        api="noise_share",
        own_infotext=True,
        kind=float,
        label="Fraction of shared noise",
        elem_id="noise-share",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        info="0: each frame has its own noise; 1: all have the same",
    )
