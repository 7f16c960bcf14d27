import hashlib
from pathlib import Path

titles: list[str] = []


def sha256(filename: str, title: str) -> str | None:
    from modules import shared

    titles.append(title)
    return None if shared.no_hashing else hashlib.sha256(Path(filename).read_bytes()).hexdigest()
