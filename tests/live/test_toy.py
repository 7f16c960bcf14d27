"""The toy world in a real WebUI does what it does without one.

`python -m animatediff_ext toy install WEBUI` puts its files there first.
"""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from animatediff_ext.toy.claim import all_cases, heading_accuracy
from animatediff_ext.toy.files import BASE, DUSK, MOTION
from animatediff_ext.toy.measures import ClipMeasures
from animatediff_ext.toy.scene import CLIP_FRAMES, SIDE
from animatediff_ext.toy.studio import CLIP, HOW
from tests.toy.figures import figures

pytestmark = [pytest.mark.live]

POINTS = 5
"""Of a hundred: how far two hosts may be apart."""
CLIPS = 48


def toy_clip(webui, checkpoint: str, prompt: str, seed: int) -> np.ndarray:
    """uint8 ``(f h w 3)``."""
    answer = webui.animate(
        animation={
            "model": MOTION,
            "video_length": CLIP_FRAMES,
            "batch_size": CLIP_FRAMES,
            "noise_kind": CLIP.noise.kind,
            "noise_share": CLIP.noise.share,
            "format": ["GIF", "Frame"],
        },
        prompt=prompt,
        negative_prompt="",
        seed=seed,
        width=SIDE,
        height=SIDE,
        steps=HOW["num_steps"],
        cfg_scale=HOW["cfg"],
        sampler_name=HOW["sampler"],
        override_settings={"sd_model_checkpoint": checkpoint.removesuffix(".safetensors")},
    )
    assert answer.status_code == 200, answer.text
    _, *frames = answer.json()["images"]
    assert len(frames) == CLIP_FRAMES
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(frame))).convert("RGB")) for frame in frames])


@pytest.mark.timeout(7200)  # of many clips, on a machine without a GPU
@pytest.mark.parametrize(("checkpoint", "key"), [(BASE, "heading_base"), (DUSK, "heading_dusk")])
def test_headings_are_those_of_the_standalone_host(webui, checkpoint, key):
    known = {entry["title"].split()[0] for entry in webui.get("/sdapi/v1/sd-models")}
    if checkpoint not in known:
        pytest.skip(f"{checkpoint} is not in this WebUI: python -m animatediff_ext toy install FOLDER")
    cases = all_cases(CLIPS)
    clips = [toy_clip(webui, checkpoint, one.prompt, 100 * one.seed) for one in tqdm(cases)]
    assert 100 * heading_accuracy(clips, cases) >= figures()[key]["value"] - POINTS
    residuals = [ClipMeasures.of(clip).residual for clip in clips]
    assert np.mean(residuals) <= 2 * figures()[key.replace("heading", "residual")]["value"]
