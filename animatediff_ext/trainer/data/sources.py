"""The clips of a source and their captions, whatever its format."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from animatediff_ext.media.comments import clean_comment
from animatediff_ext.trainer.config import Data
from animatediff_ext.trainer.data.clip import Clip
from animatediff_ext.trainer.error import TrainError

VIDEO_ENDINGS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif")
PICTURE_ENDINGS = (".webp", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")  # a WebP may also move
MEDIA_ENDINGS = VIDEO_ENDINGS + PICTURE_ENDINGS
FILE_FIELDS = ("path", "video", "file")
CAPTION_FIELDS = ("caption", "text", "name")
_NAMED_AT_MOST = 3


def find_clips(data: Data) -> list[Clip]:
    """All clips of a source, always in the same order, not looked at yet.

    Files that a list names are not looked for: those that are not there turn up as clips that cannot be read. Raises
    `TrainError` if the source is not there or not of its format, holds no clip, or some clips have no caption.
    """
    path = Path(data.path)
    if not data.path:
        raise TrainError("data.path is empty: give a folder of clips, a .csv, a .jsonl, a .tar or a folder of .tar.")
    if not path.exists():
        raise TrainError(f"data.path is {data.path}, which does not exist: check the path.")
    if data.videos and not Path(data.videos).is_dir():
        raise TrainError(f"data.videos is {data.videos}, which is no folder: give the one that the clips are in.")
    name = _format_of(path) if data.format == "auto" else data.format
    clips = list(FORMATS[name](path, data))
    if not clips:
        raise TrainError(f"{data.path} has no clips as data.format {name!r} would have them: {_WANTED[name]}.")
    return _captioned(clips, data)


def _format_of(path: Path) -> str:
    if path.is_dir():
        files = [file for file in path.iterdir() if not file.name.startswith(".")]
        only_tars = any(map(_is_tar, files)) and not any(map(_is_media, files))
        return "tar" if only_tars else "folder"
    if path.suffix[1:].lower() in ("csv", "jsonl", "tar"):
        return path.suffix[1:].lower()
    raise TrainError(
        f"data.path is {path}, whose format its name does not tell: "
        "give a folder, a .csv, a .jsonl or a .tar, or set data.format."
    )


def _captioned(clips: list[Clip], data: Data) -> list[Clip]:
    silent = [clip.name for clip in clips if not clip.caption]
    if silent and not data.caption:
        some = ", ".join(silent[:_NAMED_AT_MOST]) + (", …" if len(silent) > _NAMED_AT_MOST else "")
        raise TrainError(
            f"{len(silent)} of the {len(clips)} clips of {data.path} have no caption: {some}. Write captions "
            "(for files, a .txt of the same name beside each), or set data.caption, which all of these then get."
        )
    return [replace(clip, caption=clip.caption or data.caption, repeats=data.repeats) for clip in clips]


# ------------------------------------------------------------------------------------------------------------- folder


def _from_folder(path: Path, data: Data) -> Iterator[Clip]:
    """Videos and pictures in ``path`` and the folders in it, each with its caption in a .txt of the same name."""
    if not path.is_dir():
        raise TrainError(f"data.path is {path}, which is no folder: give one, or set data.format to what it is.")
    files = set(_files_in(path))
    for file in sorted(filter(_is_media, files)):
        beside = file.with_suffix(".txt")
        yield Clip(
            name=f"{path.resolve().name}/{file.relative_to(path).as_posix()}",
            path=str(file.absolute()),
            caption=_text_of(beside) if beside in files else "",
        )


def _files_in(path: Path) -> Iterator[Path]:
    """Also behind links to other folders, but no folder twice: links may lead in a circle."""
    known = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        if os.path.realpath(folder) in known:
            folders.clear()
            continue
        known.add(os.path.realpath(folder))
        folders.sort()
        yield from (Path(folder) / name for name in names)


def _is_media(path: Path | PurePosixPath) -> bool:
    return path.suffix.lower() in MEDIA_ENDINGS and not _is_hidden(path)


def _is_hidden(path: Path | PurePosixPath) -> bool:
    """As ._7.txt is, which a Mac packs beside 7.txt."""
    return path.name.startswith(".")


def _text_of(path: Path) -> str:
    try:
        return _one_line(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path} cannot be read ({error}): save it as UTF-8 text.") from error


def _one_line(caption: object) -> str:
    """Without halves of characters, which cut texts end in and no tokenizer takes."""
    return " ".join(clean_comment(str(caption or "")).split())


# -------------------------------------------------------------------------------------------------------- CSV and JSONL


def _from_csv(path: Path, data: Data) -> Iterator[Clip]:
    """Rows with WebVid's columns videoid, name and (optional) page_dir, or with path and caption."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = tuple(rows.fieldnames or ())
            has_caption = data.caption or any(field in columns for field in CAPTION_FIELDS)
            if not has_caption or not any(field in columns for field in (*FILE_FIELDS, "videoid")):
                raise TrainError(
                    f"{path} begins with the line {','.join(columns)!r}: its first line must name the columns, "
                    "either videoid,name,page_dir or path,caption. Add that line."
                )
            for row in rows:
                if None in row:  # what csv.DictReader calls the rest
                    raise TrainError(
                        f"{path}, line {rows.line_num}, has more columns than the first line names: put captions with "
                        "commas in them between double quotes."
                    )
                yield _listed(path, data, row, f"line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainError(f"{path} cannot be read ({error}): save it as CSV in UTF-8.") from error


def _from_jsonl(path: Path, data: Data) -> Iterator[Clip]:
    """An object a line, with path, video or file, and with caption, text or name."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path} cannot be read ({error}): save it as JSON lines in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _listed(path, data, _json_object(line, f"{path}, line {number},"), f"line {number}")


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TrainError(f"{where} is not JSON ({error}): correct it.") from error


def _json_object(text: str, where: str) -> dict:
    entry = _json(text, where)
    if not isinstance(entry, dict):
        raise TrainError(f'{where} is not a JSON object: write {{"path": …, "caption": …}}.')
    return entry


def _listed(path: Path, data: Data, entry: dict, where: str) -> Clip:
    """The clip that a row or an object names."""
    root = Path(data.videos) if data.videos else path.parent
    line = f"{path}, {where},"
    named = _first(entry, FILE_FIELDS, line)
    if named:
        file = root / named
    elif _first(entry, ("videoid",), line):
        file = _webvid_file(root, entry)
    else:
        raise TrainError(f"{line} names no file: give one in {', '.join(FILE_FIELDS)} or videoid.")
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
    return Clip(name=name, path=str(file.absolute()), caption=_one_line(_first(entry, CAPTION_FIELDS, line)))


def _webvid_file(root: Path, row: dict) -> Path:
    """WebVid's downloaders sort videos into folders by page_dir; the first AnimateDiff trainer wants them in one."""
    plain = root / f"{row['videoid']}.mp4"
    sorted_in = root / (row.get("page_dir") or "") / plain.name
    return sorted_in if sorted_in.exists() else plain


def _first(entry: dict, fields: Iterable[str], where: str) -> str:
    """The first of the fields that has something in it. Raises `TrainError` where that is no text."""
    field = next((field for field in fields if entry.get(field)), None)
    if field is None:
        return ""
    if not isinstance(entry[field], (str, int, float)):
        raise TrainError(f"{where} has no text as {field}, but {json.dumps(entry[field])[:80]}: write one.")
    return str(entry[field])


# --------------------------------------------------------------------------------------------------------------- tar


def _from_tars(path: Path, data: Data) -> Iterator[Clip]:
    """WebDataset: files of one name up to its first dot belong together, such as 7.mp4 and 7.txt or 7.json.

    Those of one name up to the last dot come first, as in folders that somebody has packed.
    """
    for tar in sorted(filter(_is_tar, path.iterdir())) if path.is_dir() else [path]:
        yield from _from_tar(tar)


def _is_tar(path: Path) -> bool:
    return path.suffix.lower() == ".tar" and not _is_hidden(path)


def _from_tar(path: Path) -> Iterator[Clip]:
    media: list[tarfile.TarInfo] = []
    captions: dict[PurePosixPath, str] = {}
    try:
        with tarfile.open(path, "r:") as tar:  # uncompressed: clips are read where they lie
            for member in filter(tarfile.TarInfo.isreg, tar):
                name = PurePosixPath(member.name)
                if _is_media(name):
                    media.append(member)
                elif name.suffix.lower() in (".txt", ".json") and not _is_hidden(name):
                    found = _caption_in(name, tar.extractfile(member).read(), path)
                    captions[name.with_suffix("")] = captions.get(name.with_suffix("")) or found
    except (OSError, tarfile.TarError) as error:
        raise TrainError(f"{path} cannot be read ({error}): give an uncompressed .tar, whole.") from error
    by_key: dict[PurePosixPath, dict[str, PurePosixPath]] = {}
    for stem, caption in captions.items():
        by_key.setdefault(_key(stem), {}).setdefault(caption, stem)
    for member in media:
        name = PurePosixPath(member.name)
        own = captions.get(name.with_suffix("")) or captions.get(_key(name))
        yield Clip(
            name=f"{path.name}/{member.name}",
            path=str(path.absolute()),
            place=(member.offset_data, member.size),
            caption=own or _only(by_key.get(_key(name), {}), member.name, path),
        )


def _only(captions: dict[str, PurePosixPath], clip: str, tar: Path) -> str:
    """Of the captions with a clip's key, the one that says something. Raises `TrainError` where several do."""
    texts = [text for text in captions if text]
    if len(texts) > 1:
        names = " and ".join(str(captions[text]) for text in texts[:2])
        raise TrainError(f"{tar} has several captions for {clip}, {names}: give one of them the name of the clip.")
    return texts[0] if texts else ""


def _key(name: PurePosixPath) -> PurePosixPath:
    return name.parent / name.name.partition(".")[0]


def _caption_in(name: PurePosixPath, content: bytes, tar: Path) -> str:
    where = f"{tar}, member {name},"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainError(f"{where} cannot be read ({error}): save it as UTF-8 text.") from error
    if name.suffix.lower() != ".json":
        return _one_line(text)
    entry = _json(text, where)
    return _one_line(_first(entry, CAPTION_FIELDS, where)) if isinstance(entry, dict) else ""  # a list of boxes, say


FORMATS: dict[str, Callable[[Path, Data], Iterator[Clip]]] = {
    "folder": _from_folder,
    "csv": _from_csv,
    "jsonl": _from_jsonl,
    "tar": _from_tars,
}
_WANTED = {
    "folder": f"put files into it that end in {', '.join(MEDIA_ENDINGS)}",
    "csv": "add a row for each clip",
    "jsonl": "add a line for each clip",
    "tar": "a .tar holds clips and their captions, such as 7.mp4 and 7.txt",
}
