import torch


class ImageRNG:
    """One generator a picture, so that a picture does not depend on its place in the batch."""

    def __init__(self, shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0):
        self.shape, self.seeds = tuple(shape), seeds
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.is_first = True

    def first(self):
        return torch.stack([torch.randn(self.shape, generator=generator) for generator in self.generators])

    def next(self):
        if self.is_first:
            self.is_first = False
            return self.first()
        return ImageRNG.first(self)
