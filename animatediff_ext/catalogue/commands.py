"""The commands ``python -m animatediff_ext models …``. What is slow to import is imported by what runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from animatediff_ext.catalogue import KNOWN, HubError, KnownFile, UnknownNameError, fetch, named, readable_size
from animatediff_ext.catalogue.known import TITLES
from animatediff_ext.catalogue.places import all_in, places_of_command_line
from animatediff_ext.complain import INTERRUPTED, WRONG_OPTION, complain

_VERIFIED = {
    "list": "its sha256 is that of the list",
    "hub": "its sha256 is the hub's; the list has none",
    "size": "its size is the hub's; a sha256 is not known",
}


def declare(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="say which files are known, and which of them are there")
    listing.add_argument("--json", action="store_true", help="print a JSON list, one object for each file")
    listing.set_defaults(run=_list)
    get = commands.add_parser("get", help="get files from the Hugging Face Hub, and put them where they belong")
    get.add_argument("names", nargs="+", metavar="NAME", help="as in the list; v2_lora_* is all that begin so")
    get.add_argument("--to", type=Path, metavar="FOLDER", help="put them here, whatever they are")
    get.set_defaults(run=_get)


def _list(arguments: argparse.Namespace) -> int:
    present = places_of_command_line().present()
    if arguments.json:
        print(json.dumps([_facts(file, present) for file in KNOWN], indent=2))
        return 0
    for kind, title in TITLES.items():
        print(f"{title}\n")
        for file in (file for file in KNOWN if file.kind == kind):
            mark = "✓" if file.file_name in present else " "
            size = readable_size(file.size_bytes)
            print(f"{mark} {file.file_name:<47} {file.family:<11} {file.base:<7} {size:>7}  {file.use}")
        print()
    print("✓ is there; get others with: python -m animatediff_ext models get NAME")
    return 0


def _facts(file: KnownFile, present: dict[str, Path]) -> dict:
    here = present.get(file.file_name)
    return {"name": file.name, **asdict(file), "licence": file.licence, "present": here and str(here)}


def _get(arguments: argparse.Namespace) -> int:
    places = all_in(arguments.to) if arguments.to else places_of_command_line()
    try:
        files = list(dict.fromkeys(file for name in arguments.names for file in named(name)))
    except UnknownNameError as error:
        return complain(error, WRONG_OPTION)
    for file in files:
        try:
            fetched = fetch(file, places.for_new(file.kind))
        except HubError as error:
            return complain(error)
        except KeyboardInterrupt:
            return complain("Stopped; the same command goes on from here.", INTERRUPTED)
        print(f"{fetched.path}: {'was there' if fetched.was_there else 'fetched'}; {_VERIFIED[fetched.verified_by]}")
    return 0
