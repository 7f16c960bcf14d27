"""A WebUI with ControlNet beside the extension, and pictures that say which frame they are for."""

import pytest
import torch
from PIL import Image

KINDS = {"canny": {}, "t2i": {}, "lllite": {}, "reference": {}, "ip": {"module": "ip-adapter"}}
"""Every kind of model that keeps its hints in another place."""
GREY = 40
BLANK = -1


def frame_picture(number: int) -> Image.Image:
    return Image.new("RGB", (32, 32), (GREY + 10 * number,) * 3)


def folder_of(path, numbers) -> str:
    path.mkdir(parents=True)
    for place, number in enumerate(numbers):
        frame_picture(number).save(path / f"{place}.png")  # 2 is before 10
    (path / "Thumbs.db").write_bytes(b"no picture")
    return str(path)


def gif(path, numbers):
    first, *rest = (frame_picture(number).convert("L") for number in numbers)
    first.save(path, save_all=True, append_images=rest, duration=100)
    return str(path)


class WithControlNet:
    """Requests to a WebUI with both extensions, and what ControlNet added in each run of the UNet."""

    def __init__(self, host, extension, script):
        self.host, self.extension, self.script = host, extension, script
        self.tables: list[torch.Tensor] = []
        host.callbacks.on_cfg_denoiser(lambda params: self.tables.append(params.x))

    def p(self, animation, *units, **fields):
        p = self.host.p(animation, scripts=[self.script], **fields)
        self.script.args_from = len(p.script_args)
        p.script_args = (*p.script_args, *units, *[self.extension.ControlNetUnit()] * (3 - len(units)))
        self.script.args_to = len(p.script_args)
        return p

    def generate(self, animation, *units, **fields):
        return self.host.run(self.p(animation, *units, **fields))

    @property
    def runs(self):
        return self.script.runs

    def sentence(self, animation, *units, **fields) -> str:
        with pytest.raises(self.host.error) as problem:
            self.generate(animation, *units, **fields)
        assert problem.value.status_code == 422
        assert "\n" not in problem.value.detail
        assert problem.value.detail[-1] == "."
        self.nothing_stays()
        return problem.value.detail

    def nothing_stays(self):
        assert self.script.latest_network is None
        assert "forward" not in vars(self.host.unet)
        assert list(self.host.temporary.glob("animatediff-controlnet-*")) == []

    def frames_of_rows(self, run, num_frames: int) -> list[int]:
        """By the latents: those of the negative prompt came to the denoiser in the order of the frames."""
        known = torch.cat(
            [table[-num_frames:].flatten(1) for table in self.tables if table.shape[2:] == run.x.shape[2:]]
        )
        likeness = torch.cosine_similarity(run.x.flatten(1)[:, None], known[None], dim=2)
        assert likeness.max(1).values.min() > 0.9999
        return (likeness.argmax(1) % num_frames).tolist()


def told(added: torch.Tensor, num_rows: int) -> list[int]:
    """The numbers of the pictures that hints were made of."""
    values = added.mean(dim=(1, 2, 3))
    numbers = [round((float(value) * 255 - GREY) / 10) if value > 0 else BLANK for value in values]
    return numbers if len(numbers) > 1 else numbers * num_rows


def check_every_row(cn, num_frames: int, kinds, number_of=lambda frame: frame):
    assert cn.runs
    for run in cn.runs:
        frames = cn.frames_of_rows(run, num_frames)
        for kind, added in zip(kinds, run.added, strict=True):
            numbers = told(added, len(frames))
            positive = run.is_positive if kind == "ip" else [True] * len(frames)  # an IP-Adapter speaks to these only
            expected = [number_of(frame) if yes else BLANK for frame, yes in zip(frames, positive, strict=True)]
            assert numbers == expected, kind
