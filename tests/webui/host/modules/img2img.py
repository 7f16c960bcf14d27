"""The tab *Batch*: each picture by itself."""

from modules import images, shared
from modules.processing import process_images


def process_batch(p, input, output_dir, inpaint_mask_dir, args, to_scale=False, scale_by=1.0, **_png_info):
    processed = None
    for file in shared.walk_files(input):
        p.init_images = [images.read(file)] * p.batch_size
        one = process_images(p)
        if processed is None:
            processed = one
        else:
            processed.images += one.images
    return processed
