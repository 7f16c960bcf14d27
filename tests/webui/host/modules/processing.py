from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from modules import extra_networks, images, prompt_parser, rng, sd_models, sd_samplers, shared
from modules.scripts import PostprocessImageArgs, PostSampleArgs
from modules.sd_samplers_common import images_tensor_to_samples
from PIL import Image, ImageOps

SIZE = 32


def create_binary_mask(image, round=True):
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = image.split()[-1].convert("L")
        return alpha.point(lambda x: 255 if x > 128 else 0) if round else alpha
    return image.convert("L")


def apply_overlay(image, paste_to, overlay):
    if overlay is None:
        return image
    if paste_to is not None:
        x, y, width, height = paste_to
        whole = Image.new("RGBA", overlay.size)
        whole.paste(image.resize((width, height)), (x, y))
        image = whole
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB")


def fix_seed(p):
    p.seed = 1234 if p.seed == -1 else p.seed


class StableDiffusionProcessing:
    """The WebUI's are data classes with many more fields."""

    def __init__(self, **fields: Any):
        self.prompt, self.negative_prompt, self.seed = "a cat", "blue", 7
        self.steps, self.cfg_scale, self.sampler_name = 2, 5.0, "Euler"
        self.width = self.height = SIZE
        self.batch_size = self.n_iter = 1
        self.subseed = -1
        self.s_min_uncond = self.subseed_strength = 0.0
        self.seed_resize_from_h = self.seed_resize_from_w = -1
        self.outpath_samples = None
        self.do_not_save_samples = self.do_not_save_grid = False
        self.override_settings: dict = {}
        self.refiner_checkpoint, self.refiner_switch_at = None, 0.5
        self.comments: dict = {}
        self.extra_generation_params: dict = {}
        self.is_api = self.is_hr_pass = False
        self.script_args_value: tuple = ()
        self.iteration = 0
        self.all_prompts = self.all_negative_prompts = self.all_seeds = self.prompts = None
        self.seeds = self.subseeds = None
        self.scripts = self.sampler = self.rng = self.c = self.uc = self.extra_network_data = None
        self.styles: list = []
        self.cached_c, self.cached_uc = [None, None], [None, None]
        self.cached_hr_c, self.cached_hr_uc = [None, None], [None, None]
        unknown = [name for name in fields if not hasattr(self, name) and not hasattr(type(self), name)]
        assert not unknown, unknown
        self.__dict__.update(fields)

    @property
    def sd_model(self):
        return shared.sd_model

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value

    def get_token_merging_ratio(self):
        return 0.0

    def comment(self, text):
        self.comments[text] = 1

    def save_samples(self):
        cut_short = shared.state.interrupted or shared.state.skipped
        return (
            shared.opts.samples_save
            and not self.do_not_save_samples
            and (shared.opts.save_incomplete_images or not cut_short)
        )

    def setup_prompts(self):
        total = self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else total * [self.prompt]
        negative = self.negative_prompt
        self.all_negative_prompts = negative if isinstance(negative, list) else len(self.all_prompts) * [negative]
        styled, unwanted = (
            shared.prompt_styles.apply_styles_to_prompt,
            shared.prompt_styles.apply_negative_styles_to_prompt,
        )
        self.all_prompts = [styled(text, self.styles) for text in self.all_prompts]
        self.all_negative_prompts = [unwanted(text, self.styles) for text in self.all_negative_prompts]

    def init(self, *_args): ...

    def parse_extra_network_prompts(self):
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None):
        key = (list(required_prompts), steps, hires_steps)
        for cache in caches:
            if cache[0] == key:
                return cache[1]
        caches[0][:] = key, function(shared.sd_model, required_prompts, steps, hires_steps, False)
        return caches[0][1]

    def setup_conds(self):
        self.firstpass_steps = self.steps
        texts = prompt_parser.SdConditioning(self.prompts, width=self.width, height=self.height)
        negative = prompt_parser.SdConditioning(self.negative_prompts, is_negative_prompt=True)
        common = self.steps, self.extra_network_data
        learn, multi = prompt_parser.get_learned_conditioning, prompt_parser.get_multicond_learned_conditioning
        self.uc = self.get_conds_with_caching(learn, negative, common[0], [self.cached_uc], common[1])
        self.c = self.get_conds_with_caching(multi, texts, common[0], [self.cached_c], common[1])

    def get_conds(self):
        return self.c, self.uc

    def close(self):
        self.sampler = self.c = self.uc = None


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr = False
    hr_scale = 2.0
    hr_checkpoint_name = hr_sampler_name = hr_c = hr_uc = firstpass_image = None
    hr_second_pass_steps = 0
    hr_prompt = ""
    denoising_strength = 0.75
    all_hr_prompts = all_hr_negative_prompts = hr_prompts = hr_negative_prompts = hr_extra_network_data = None

    def setup_prompts(self):
        super().setup_prompts()
        if self.enable_hr:
            own = self.batch_size * self.n_iter * [self.hr_prompt]
            styled = shared.prompt_styles.apply_styles_to_prompt
            self.all_hr_prompts = [styled(x, self.styles) for x in own] if self.hr_prompt else list(self.all_prompts)
            self.all_hr_negative_prompts = list(self.all_negative_prompts)

    def setup_conds(self):
        if self.is_hr_pass:
            return self.calculate_hr_conds()
        return super().setup_conds()

    def calculate_hr_conds(self):
        texts = prompt_parser.SdConditioning(self.hr_prompts)
        negative = prompt_parser.SdConditioning(self.hr_negative_prompts, is_negative_prompt=True)
        learn, multi = prompt_parser.get_learned_conditioning, prompt_parser.get_multicond_learned_conditioning
        common = self.firstpass_steps, self.hr_second_pass_steps or self.steps
        caches = [self.cached_hr_uc, self.cached_uc], [self.cached_hr_c, self.cached_c]
        data = self.hr_extra_network_data
        self.hr_uc = self.get_conds_with_caching(learn, negative, common[0], caches[0], data, common[1])
        self.hr_c = self.get_conds_with_caching(multi, texts, common[0], caches[1], data, common[1])

    def parse_extra_network_prompts(self):
        super().parse_extra_network_prompts()
        if self.enable_hr:
            span = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_prompts = self.all_hr_prompts[span]
            self.hr_negative_prompts = self.all_hr_negative_prompts[span]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.hr_prompts)

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def sample(self, conditioning, unconditional_conditioning):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        if self.firstpass_image is not None:
            samples = images_tensor_to_samples(_pixels([self.firstpass_image]))
        else:
            x = self.rng.next()
            self.scripts.process_before_every_sampling(
                self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning
            )
            samples = self.sampler.sample(self, x, conditioning, unconditional_conditioning)
            if not self.enable_hr:
                return samples
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=sd_models.checkpoints.get(self.hr_checkpoint_name))
        return self.sample_hr_pass(samples)

    def sample_hr_pass(self, samples):
        if shared.state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        samples = torch.nn.functional.interpolate(samples, scale_factor=self.hr_scale)
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        self.calculate_hr_conds()
        self.scripts.before_hr(self)
        self.scripts.process_before_every_sampling(self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc)
        steps = self.hr_second_pass_steps or self.steps
        samples = self.sampler.sample_img2img(self, samples, noise, self.hr_c, self.hr_uc, steps=steps)
        self.sampler = None
        self.is_hr_pass = False
        return samples


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images = image_mask = init_latent = mask = nmask = mask_for_overlay = paste_to = None
    denoising_strength = 0.75
    resize_mode = 0
    inpaint_full_res = inpainting_mask_invert = False
    mask_round = True
    overlay_images = color_corrections = image_conditioning = None

    def init(self, all_prompts, all_seeds, all_subseeds):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        mask, crop = self._prepared_mask()
        pictures = []
        for picture in self.init_images:
            if crop is None and self.resize_mode != 3:
                picture = images.resize_image(self.resize_mode, picture, self.width, self.height)
            if mask is not None:
                overlay = Image.new("RGBa", picture.size)
                protected = ImageOps.invert(self.mask_for_overlay.resize(picture.size))
                overlay.paste(picture.convert("RGBA").convert("RGBa"), mask=protected)
                self.overlay_images.append(overlay.convert("RGBA"))
            if crop is not None:
                picture = picture.crop(crop).resize((self.width, self.height))
            pictures.append(picture)
        if len(pictures) == 1:
            pictures = pictures * self.batch_size
            self.overlay_images = self.overlay_images and self.overlay_images * self.batch_size
        elif len(pictures) <= self.batch_size:
            self.batch_size = len(pictures)
        else:
            raise RuntimeError(f"bad number of images passed: {len(pictures)}")
        self.init_latent = images_tensor_to_samples(_pixels(pictures))
        self.image_conditioning = self.init_latent.new_zeros(len(pictures), 5, 1, 1)
        if self.resize_mode == 3:
            size = (self.height // 8, self.width // 8)
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size=size, mode="bilinear")
        if mask is not None:
            free = np.asarray(mask.resize((self.width // 8, self.height // 8))) / 255
            self.nmask = torch.from_numpy(free).float().round().repeat(4, 1, 1)
            self.mask = 1 - self.nmask

    def _prepared_mask(self):
        """The mask, and the part of the pictures that is painted with *Only masked*."""
        if self.image_mask is None:
            return None, None
        mask = create_binary_mask(self.image_mask, round=self.mask_round)
        mask = ImageOps.invert(mask) if self.inpainting_mask_invert else mask
        self.mask_for_overlay, self.overlay_images = mask, []
        if not self.inpaint_full_res:
            self.mask_for_overlay = mask = mask.resize((self.width, self.height))
            return mask, None
        crop = mask.getbbox()
        if crop is None:
            self.mask_for_overlay, self.inpaint_full_res = None, False
            return None, None
        self.paste_to = (crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1])
        return mask.crop(crop).resize((self.width, self.height)), crop

    def sample(self, conditioning, unconditional_conditioning):
        noise = self.rng.next()
        self.scripts.process_before_every_sampling(
            self, x=self.init_latent, noise=noise, c=conditioning, uc=unconditional_conditioning
        )
        samples = self.sampler.sample_img2img(self, self.init_latent, noise, conditioning, unconditional_conditioning)
        if self.mask is not None:
            samples = samples * self.nmask + self.init_latent * self.mask
        return samples


def _pixels(pictures):
    return torch.stack([torch.from_numpy(np.array(p.convert("RGB"))).permute(2, 0, 1) / 255 for p in pictures])


class Processed:
    def __init__(self, p, images_list, seed=-1, info="", *, infotexts=(), index_of_first_image=0):
        self.images, self.infotexts = list(images_list), list(infotexts) or [info] * len(images_list)
        self.seed, self.info = seed, info
        self.index_of_first_image = index_of_first_image
        self.all_prompts, self.all_seeds = p.all_prompts, p.all_seeds
        self.extra_generation_params = p.extra_generation_params
        self.comments = "".join(f"{comment}\n" for comment in p.comments)


def create_infotext(p, all_prompts, all_seeds, all_subseeds, *, index=0, all_negative_prompts=None):
    p.get_token_merging_ratio()
    negative = (all_negative_prompts or p.all_negative_prompts)[index]
    parameters = {"Steps": p.steps, "Sampler": p.sampler_name, "CFG scale": p.cfg_scale, "Seed": all_seeds[index]}
    parameters |= p.extra_generation_params
    listed = ", ".join(f"{key}: {_quoted(value)}" for key, value in parameters.items())
    return f"{all_prompts[index]}\nNegative prompt: {negative}\n{listed}"


def _quoted(value):
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(letter in text for letter in ",\n:") else text


def process_images(p: StableDiffusionProcessing) -> Processed:
    p.scripts.before_process(p)
    stored = {name: shared.opts.data[name] for name in p.override_settings}
    try:
        for name, value in p.override_settings.items():
            setattr(shared.opts, name, value)
        sd_models.reload_model_weights()
        p.get_token_merging_ratio()
        return process_images_inner(p)
    finally:
        for name, value in stored.items():
            setattr(shared.opts, name, value)


def process_images_inner(p):
    p.setup_prompts()
    p.all_seeds = p.seed if isinstance(p.seed, list) else [p.seed + i for i in range(len(p.all_prompts))]
    p.scripts.process(p)
    pictures, infotexts = [], []
    with torch.no_grad():
        p.init(p.all_prompts, p.all_seeds, p.all_seeds)
        for n in range(p.n_iter):
            p.iteration = n
            shared.state.skipped = False
            if shared.state.interrupted or shared.state.stopping_generation:
                break
            sd_models.reload_model_weights()
            span = slice(n * p.batch_size, (n + 1) * p.batch_size)
            p.prompts, p.negative_prompts = p.all_prompts[span], p.all_negative_prompts[span]
            p.seeds = p.all_seeds[span]
            p.rng = rng.ImageRNG((4, p.height // 8, p.width // 8), p.seeds)
            p.scripts.before_process_batch(p, batch_number=n, prompts=p.prompts, seeds=p.seeds)
            if len(p.prompts) == 0:
                break
            p.parse_extra_network_prompts()
            p.scripts.process_batch(p, batch_number=n, prompts=p.prompts, seeds=p.seeds)
            p.setup_conds()
            sd_models.apply_alpha_schedule_override(p.sd_model, p)
            post = PostSampleArgs(p.sample(conditioning=p.c, unconditional_conditioning=p.uc))
            p.scripts.post_sample(p, post)
            pixels = (p.sd_model.decode(post.samples) / 2 + 0.5).clamp(0, 1)
            p.scripts.postprocess_batch(p, pixels, batch_number=n)
            p.prompts, p.negative_prompts = p.all_prompts[span], p.all_negative_prompts[span]
            for i, picture in enumerate(pixels):
                p.batch_index = i
                image = Image.fromarray((255 * picture.permute(1, 2, 0)).byte().numpy())
                args = PostprocessImageArgs(image)
                p.scripts.postprocess_image(p, args)
                overlays = getattr(p, "overlay_images", None) if shared.opts.overlay_inpaint else None
                if overlays is not None and i < len(overlays):
                    args.image = apply_overlay(args.image, p.paste_to, overlays[i])
                args = PostprocessImageArgs(args.image)
                p.scripts.postprocess_image_after_composite(p, args)
                if p.save_samples():
                    images.save_image(args.image, p.outpath_samples, p.seeds[i])
                pictures.append(args.image)
                text = create_infotext(
                    p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts
                )
                infotexts.append(text)
                if shared.opts.enable_pnginfo:
                    args.image.info["parameters"] = text
                mask = getattr(p, "mask_for_overlay", None)
                returned = (shared.opts.return_mask, shared.opts.return_mask_composite)
                pictures += [mask.convert("RGB") for wanted in returned if wanted and mask is not None]
    index_of_first_image = 0
    if len(pictures) > 1 and not p.do_not_save_grid:
        pictures.insert(0, Image.new("RGB", (8, 8)))
        infotexts.insert(0, infotexts[0])
        index_of_first_image = 1
    processed = Processed(p, pictures, infotexts=infotexts or [""], index_of_first_image=index_of_first_image)
    p.scripts.postprocess(p, processed)
    return processed
