"""``<lora:name:1>`` in prompts: taken out of all of them, and known from the first one."""

import re

_TAG = re.compile(r"<(\w+):([^>]+)>")


def parse_prompts(prompts):
    data = _TAG.findall(prompts[0]) if prompts else []
    return [_TAG.sub("", prompt) for prompt in prompts], data
