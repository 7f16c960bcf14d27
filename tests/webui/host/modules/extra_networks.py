"""``<lora:name:1>`` in prompts: taken out of all of them, and known from the first one."""

import re
from collections import defaultdict

_TAG = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    def __init__(self, items=None):
        self.items = items or []


def parse_prompts(prompts):
    data = defaultdict(list)
    for kind, arguments in _TAG.findall(prompts[0]) if prompts else []:
        data[kind].append(ExtraNetworkParams(arguments.split(":")))
    return [_TAG.sub("", prompt) for prompt in prompts], data
