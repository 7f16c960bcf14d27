"""``<lora:name:1>`` in prompts: taken out of all of them, and known from the first one."""

import re
from collections import defaultdict

_TAG = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    def __init__(self, items=None):
        self.items = items or []
        pairs = [item.split("=", 1) for item in self.items]
        self.positional = [pair[0] for pair in pairs if len(pair) == 1]
        self.named = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def parse_prompts(prompts):
    data = defaultdict(list)
    for kind, arguments in _TAG.findall(prompts[0]) if prompts else []:
        data[kind].append(ExtraNetworkParams(arguments.split(":")))
    return [_TAG.sub("", prompt) for prompt in prompts], data
