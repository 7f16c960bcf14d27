from dataclasses import dataclass
from typing import Any

from modules import errors

AlwaysVisible = object()
scripts_data: list = []


class Script:
    args_from = args_to = 0

    def title(self):
        return type(self).__name__

    def before_process(self, p, *args): ...
    def process(self, p, *args): ...
    def before_process_batch(self, p, *args, **kwargs): ...
    def process_batch(self, p, *args, **kwargs): ...
    def before_hr(self, p, *args): ...
    def process_before_every_sampling(self, p, *args, **kwargs): ...
    def post_sample(self, p, samples, *args): ...
    def postprocess_batch(self, p, *args, **kwargs): ...
    def postprocess_image(self, p, picture, *args): ...
    def postprocess_image_after_composite(self, p, picture, *args): ...
    def postprocess(self, p, processed, *args): ...


@dataclass
class PostSampleArgs:
    samples: Any


@dataclass
class PostprocessImageArgs:
    image: Any


class ScriptRunner:
    """Calls one hook of all scripts. What a script raises is reported, and the generation goes on."""

    def __init__(self, scripts):
        self.scripts = self.alwayson_scripts = scripts
        self.selectable_scripts = []
        self.log: list[str] = []

    def __getattr__(self, hook):
        def run(p, *args, **kwargs):
            self.log.append(hook)
            for script in self.scripts:
                try:
                    getattr(script, hook)(p, *args, *p.script_args[script.args_from : script.args_to], **kwargs)
                except Exception as problem:
                    errors.report(problem)

        return run


class SelectableScripts:
    """Those of img2img, of which none is selected."""

    def run(self, p, *args):
        return None


scripts_img2img = SelectableScripts()
