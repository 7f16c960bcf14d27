from dataclasses import dataclass


@dataclass
class Extension:
    path: str
    enabled: bool = True


extensions: list[Extension] = []


def active() -> list[Extension]:
    return [extension for extension in extensions if extension.enabled]
