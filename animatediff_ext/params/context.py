"""Which frames go through the UNet together."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.setting import Checked, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class Context(Checked):
    """Which frames go through the UNet together."""

    length: int = setting(
        16,
        api="batch_size",
        info="frames that the motion module sees together: 16 for most, 8 for HotshotXL; fewer need less VRAM",
        unit="frames",
        kind=int,
        label="Context batch size",
        elem_id="batch-size",
        minimum=1,
        slider=(1, 64, 1),
        infotext=True,
    )
    stride: int = setting(
        1,
        api="stride",
        info="2, 3, …: also contexts of every 2nd, 4th, … frame",
        kind=int,
        label="Stride",
        elem_id="stride",
        minimum=1,
        infotext=True,
    )
    overlap: int = setting(
        -1,
        api="overlap",
        info="frames that neighbouring contexts share; -1: a quarter of the context",
        unit="frames",
        kind=int,
        label="Overlap",
        elem_id="overlap",
        minimum=-1,
        infotext=True,
    )
    closed_loop: str = setting(
        "R-P",
        api="closed_loop",
        info="N: no loop, for a story; R-P: the motion loops; R+P: prompts loop, too; A: both, with one more context "
        "over the seam. With one context only A loops: frames play forwards, then back",
        kind=str,
        label="Closed loop",
        elem_id="closed-loop",
        choices=("N", "R-P", "R+P", "A"),
        aliases={"true": "R+P", "false": "R-P"},  # v1.7 to v1.9.1: whether windows keep their overlap over the seam
        infotext=True,
    )
    schedule: str = setting(
        "uniform",
        api="context_schedule",
        own_infotext=True,
        kind=str,
        label="Context schedule",
        elem_id="context-schedule",
        choices=("uniform", "static", "looped"),
        info="uniform: contexts move from step to step, and join the ends unless Closed loop is N; static: they stay; "
        "looped: they always join the ends",
    )
    weights: str = setting(
        "pyramid",
        api="context_weights",
        own_infotext=True,
        kind=str,
        label="Context weights",
        elem_id="context-weights",
        choices=("pyramid", "linear", "flat"),
        info="how overlapping contexts are blended",
    )
    long_clips: str = setting(
        "auto",
        api="long_clips",
        own_infotext=True,
        kind=str,
        label="Long clips",
        elem_id="long-clips",
        choices=("auto", "windows", "views"),
        info="windows: the UNet runs on a context at a time (least memory); views: on the whole clip, and only motion "
        "is in contexts (least time); auto: views where there is memory for them",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.overlap >= self.length:
            raise SettingsError(
                f"Overlap is {self.overlap}, but a context has only {self.length} frames: "
                f"set it to at most {self.length - 1}, or to -1 for a quarter of the context."
            )

    @property
    def schedule_in_force(self) -> str:
        """Of `context.SCHEDULES`: *Closed loop* joins the ends of windows that move, R-P and R+P with as few windows as
        possible, A with the overlap kept over the seam. Windows that stay in place, and N, do not join."""
        if self.schedule == "static":
            return "static"
        if self.closed_loop == "A":
            return "looped often"
        return "uniform" if self.schedule == "uniform" and self.closed_loop == "N" else "looped"

    @property
    def joins_ends(self) -> bool:
        return self.schedule_in_force in ("looped", "looped often")

    @property
    def overlap_frames(self) -> int:
        """Frames that neighbouring windows share; a quarter of the context by default."""
        return self.length // 4 if self.overlap < 0 else self.overlap
