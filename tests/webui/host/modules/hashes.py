import hashlib
from pathlib import Path

titles: list[str] = []
_cache: dict[tuple[str, float], str] = {}


def sha256_from_cache(filename: str, title: str) -> str | None:
    return _cache.get((title, Path(filename).stat().st_mtime))


def sha256(filename: str, title: str) -> str | None:
    from modules import shared

    titles.append(title)
    if shared.no_hashing:
        return None
    digest = hashlib.sha256(Path(filename).read_bytes()).hexdigest()
    return _cache.setdefault((title, Path(filename).stat().st_mtime), digest)
