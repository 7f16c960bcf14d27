import json
import re

paste_fields: dict[str, dict] = {}
_ENTRY = re.compile(r'(\w[\w /-]+): ?("(?:[^"\\]|\\.)+"|[^,]*)')


class PasteField(tuple):
    """What is filled in by a function of all entries, or by the entry of a name."""

    def __new__(cls, component, target, *, api=None):
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        self.component, self.api = component, api
        self.function, self.label = (target, None) if callable(target) else (None, target)


def parse_generation_parameters(text):
    """Entries of the last line; no callback of an extension is asked."""
    last = text.strip().split("\n")[-1]
    entries = {name: json.loads(value) if value.startswith('"') else value for name, value in _ENTRY.findall(last)}
    return entries if len(entries) >= 3 else {}
