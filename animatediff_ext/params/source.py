"""What guides ControlNet."""

from __future__ import annotations

from dataclasses import dataclass

from animatediff_ext.setting import Checked, setting


@dataclass(frozen=True, kw_only=True)
class Source(Checked):
    """A video that conditions the animation (read by ControlNet)."""

    video: str | None = setting(
        None,
        api="video_source",
        meaning="path on the server of a video that guides ControlNet",
        kind=None,
        label="Video source",
        elem_id="video-source",
    )
    frames_folder: str = setting(
        "",
        api="video_path",
        info="a folder of frames on the server, or a video there; overrides Video source; both guide ControlNet's "
        "units that have no picture, and change nothing without one",
        kind=str,
        label="Video path",
        elem_id="video-path",
    )
    masks_folder: str = setting(
        "",
        api="mask_path",
        meaning="path on the server of a folder of masks for these frames",
        kind=str,
        label="Mask path",
        elem_id="mask-path",
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("frames_folder", "masks_folder"):  # of blanks alone, a path would be the folder of the host itself
            object.__setattr__(self, name, getattr(self, name).strip())
