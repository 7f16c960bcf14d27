"""Training clips: found, looked at, planned step by step, read and cached.

clips = find_clips(Data(path="clips"))
catalogue = look_at(clips, buckets_of(sample), sample, index=Path("runs/a/clips.json"))
plan = Plan(catalogue, sample, seed=0, global_batch=4)
dataset = ClipDataset(plan, TensorCache("", "float16"), rank=0, world=1, batch=2, accumulate=2, vae_fingerprint="…")
for examples in batches(dataset, first=0, last=1000, workers=2): ...
"""

from animatediff_ext.trainer.data.cache import TensorCache, latents_key, text_key
from animatediff_ext.trainer.data.catalogue import Catalogue, look_at
from animatediff_ext.trainer.data.clip import Clip, Seen
from animatediff_ext.trainer.data.dataset import ClipDataset, Example, batches
from animatediff_ext.trainer.data.direction import names_direction
from animatediff_ext.trainer.data.pixels import pixels_of
from animatediff_ext.trainer.data.plan import Plan
from animatediff_ext.trainer.data.sources import FORMATS, find_clips
from animatediff_ext.trainer.data.take import Bucket, Take, buckets_of, share

__all__ = [
    "FORMATS",
    "Bucket",
    "Catalogue",
    "Clip",
    "ClipDataset",
    "Example",
    "Plan",
    "Seen",
    "Take",
    "TensorCache",
    "batches",
    "buckets_of",
    "find_clips",
    "latents_key",
    "look_at",
    "names_direction",
    "pixels_of",
    "share",
    "text_key",
]
