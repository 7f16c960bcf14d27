import json
import re
from pathlib import Path
from types import SimpleNamespace

import torch

device = torch.device("cpu")
cmd_opts = SimpleNamespace(lora_dir=None, api_auth=None, freeze_settings=False)
no_hashing = False
config_filename = ""  # of each test, by its fixture
demo = SimpleNamespace(temp_file_sets=[set()])


class OptionInfo:
    def __init__(self, default=None, label="", component=None, component_args=None, section=None, restrict_api=False):
        self.restrict_api = restrict_api
        self.default, self.label, self.component = default, label, component
        self.component_args, self.section = component_args, section
        self.comment_after, self.onchange = "", None

    def link(self, _label, _url):
        return self

    def info(self, text):
        self.comment_after += text
        return self

    def needs_reload_ui(self):
        return self


_DEFAULTS = {
    "batch_cond_uncond": True,
    "directories_filename_pattern": "[date]",
    "enable_pnginfo": True,
    "grid_save": False,
    "img2img_batch_show_results_limit": 32,
    "img2img_background_color": "#ffffff",
    "overlay_inpaint": True,
    "pad_cond_uncond": False,
    "return_mask": False,
    "return_mask_composite": False,
    "samples_filename_pattern": "",
    "samples_save": True,
    "save_images_add_number": True,
    "save_images_replace_action": "Replace",
    "save_incomplete_images": False,
    "save_to_dirs": True,
    "sd_model_checkpoint": "base",
    "sd_noise_schedule": "Default",
    "sd_vae_encode_method": "Full",
    "skip_early_cond": 0.0,
    "temp_dir": "",
    "use_downcasted_alpha_bar": False,
    "uni_pc_order": 3,
    "img2img_fix_steps": False,
}


class Options:
    """Values live in ``data``; an attribute of the object itself would hide one."""

    def __init__(self):
        self.data_labels = {name: OptionInfo(default) for name, default in _DEFAULTS.items()}
        self.data = dict(_DEFAULTS)

    def __getattr__(self, name):
        if name in ("data", "data_labels"):
            raise AttributeError(name)
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(name)

    def __setattr__(self, name, value):
        if name not in ("data", "data_labels") and name in self.data_labels:
            self.data[name] = value
        else:
            super().__setattr__(name, value)

    def set(self, name, value):
        """As *Apply settings* and the API do."""
        self.data[name] = value
        if self.data_labels[name].onchange is not None:
            self.data_labels[name].onchange()

    def save(self, filename):
        assert not cmd_opts.freeze_settings, "saving settings is disabled"
        Path(filename).write_text(json.dumps(self.data), encoding="utf-8")

    def add_option(self, name, info):
        self.data_labels[name] = info
        if info.default is not None:
            self.data.setdefault(name, info.default)


class State:
    interrupted = skipped = stopping_generation = False
    sampling_step = job_no = 0
    job_count = 0
    job_timestamp = "0"

    def nextjob(self):
        self.job_no += 1

    def begin(self):
        self.job_no, self.job_count = 0, 1
        self.job_timestamp = str(int(self.job_timestamp) + 1)
        self.interrupted = self.skipped = self.stopping_generation = False

    def end(self):
        self.job_count = 0


class PromptStyles:
    """Name → text for the prompt and for the negative one, which may say where the ``{prompt}`` stands."""

    def __init__(self):
        self.styles: dict[str, tuple[str, str]] = {}

    def apply_styles_to_prompt(self, prompt, styles):
        return self._applied(prompt, [self.styles[name][0] for name in styles])

    def apply_negative_styles_to_prompt(self, prompt, styles):
        return self._applied(prompt, [self.styles[name][1] for name in styles])

    def _applied(self, prompt, texts):
        for text in texts:
            whole = text.replace("{prompt}", prompt)
            prompt = whole if "{prompt}" in text else ", ".join(filter(None, (prompt.strip(), text.strip())))
        return prompt


def walk_files(folder, allowed_extensions=None):
    """In natural order, with those of folders inside."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", str(path))]):
        if allowed_extensions is None or path.suffix.lower() in allowed_extensions:
            yield str(path)


opts = Options()
prompt_styles = PromptStyles()
state = State()


def __getattr__(name):
    if name != "sd_model":
        raise AttributeError(name)
    from modules import sd_models

    return sd_models.model_data.sd_model
