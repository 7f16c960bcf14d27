"""Noise that is refined by sampling several times."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.setting import Checked, setting


@dataclass(frozen=True, kw_only=True)
class FreeInit(Checked):
    """Refinement of the initial noise (Wu et al., arXiv 2312.07537)."""

    enabled: bool = setting(
        False,
        api="freeinit_enable",
        info="samples several times, each time from noise whose low frequencies come from the previous result: "
        "steadier, slower",
        kind=bool,
        label="Enable FreeInit",
        elem_id="freeinit-enable",
        infotext=True,
    )
    filter: str = setting(
        "butterworth",
        api="freeinit_filter",
        own_infotext=True,
        kind=str,
        label="Filter Type",
        elem_id="freeinit-filter",
        choices=("butterworth", "gaussian", "box", "ideal"),
        info="Default as Butterworth. To fix large inconsistencies, consider using Gaussian.",
    )
    spatial_stop: float = setting(
        0.25,
        api="freeinit_ds",
        unit="share of the highest frequency",
        own_infotext=True,
        kind=float,
        label="d_s",
        elem_id="freeinit-ds",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.125),
        info="Stop frequency for spatial dimensions (0.0-1.0)",
    )
    temporal_stop: float = setting(
        0.25,
        api="freeinit_dt",
        unit="share of the highest frequency",
        own_infotext=True,
        kind=float,
        label="d_t",
        elem_id="freeinit-dt",
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.125),
        info="Stop frequency for temporal dimension (0.0-1.0)",
    )
    num_iterations: int = setting(
        3,
        api="freeinit_iters",
        unit="times",
        own_infotext=True,
        kind=int,
        label="FreeInit Iterations",
        elem_id="freeinit-iters",
        minimum=1,
        maximum=10,
        slider=(2, 5, 1),
        info="Larger value leads to smoother results & longer inference time.",
    )
    coarse_to_fine: bool = setting(
        False,
        api="freeinit_coarse",
        own_infotext=True,
        kind=bool,
        label="Coarse to fine",
        elem_id="freeinit-coarse",
        info="earlier iterations take fewer steps: three iterations take two thirds of the time",
    )

    def steps_of(self, iteration: int, num_steps: int) -> int:
        """Of iteration 1, 2, …; the last one has all."""
        return max(1, num_steps * iteration // self.num_iterations) if self.coarse_to_fine else num_steps
