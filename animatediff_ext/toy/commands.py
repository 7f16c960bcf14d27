"""The commands ``python -m animatediff_ext toy …`` and ``python -m animatediff_ext demo``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from animatediff_ext.complain import INTERRUPTED, complain
from animatediff_ext.trainer.error import TrainError

TOY = Path("model/toy")
WORK = Path("runs/toy")


def declare_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/demo"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.set_defaults(run=_saying_problems(_demo))


def declare(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    build = commands.add_parser("build", help="make the toy world from nothing, or go on where that was stopped")
    build.add_argument("--output", type=Path, default=TOY, metavar="FOLDER", help="of the models; default: %(default)s")
    build.add_argument("--work", type=Path, default=WORK, metavar="FOLDER", help="of what is in between; %(default)s")
    build.add_argument(
        "--processes", type=int, choices=(1, 2, 4), default=1, help="of the training; default: %(default)s"
    )
    build.set_defaults(
        run=_saying_problems(_build, "Stopped. What was finished is there; the same command goes on from it.")
    )
    measure = commands.add_parser("measure", help="measure what its models do, and write docs/claim.md")
    measure.add_argument("--models", type=Path, default=TOY, metavar="FOLDER", help="default: %(default)s")
    measure.add_argument("--document", type=Path, default=Path("docs/claim.md"), metavar="FILE", help="%(default)s")
    measure.add_argument(
        "--processes", type=int, default=1, metavar="N", help="make so many clips at once; %(default)s"
    )
    measure.set_defaults(run=_saying_problems(_measure, "Stopped. The same command measures everything anew."))
    pictures = commands.add_parser("pictures", help="make the pictures of documents anew from the commands beside them")
    pictures.add_argument("pages", type=Path, nargs="+", metavar="FILE.md")
    pictures.set_defaults(run=_saying_problems(_pictures))
    install = commands.add_parser("install", help="copy its models into a WebUI, which can then use them as any other")
    install.add_argument("webui", type=Path, metavar="FOLDER", help="the folder of the WebUI")
    install.set_defaults(run=_saying_problems(_install))


def _demo(arguments: argparse.Namespace) -> int:
    import torch

    from animatediff_ext.toy.demo import demo
    from animatediff_ext.toy.studio import Studio

    torch.set_num_threads(1)  # threads of so small models wait for each other, and on a busy machine do little else
    demo(arguments.output, Studio())
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from animatediff_ext.toy.build import Recipe, build

    build(Recipe(), arguments.work, arguments.output, num_processes=arguments.processes)
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    from animatediff_ext.toy.claim import Claim
    from animatediff_ext.toy.crew import Crew
    from animatediff_ext.toy.report import table, write_report
    from animatediff_ext.toy.studio import Studio

    studio = Studio(arguments.models)
    with Crew(studio, arguments.processes) as crew:
        claim = Claim(studio, crew)
        figures = list(claim.figures())
        write_report(claim, figures, arguments.models, arguments.document)
    print("\n".join(table(figures)))
    return 0


def _pictures(arguments: argparse.Namespace) -> int:
    from animatediff_ext.toy.pictures import examples

    for page in arguments.pages:
        for example in examples(page):
            if example.picture:
                example.make()
                print(example.picture)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    from animatediff_ext.toy.files import SHIPPED
    from animatediff_ext.toy.install import install

    for path in install(SHIPPED, arguments.webui):
        print(path)
    return 0


def _saying_problems(
    run: Callable[[argparse.Namespace], int], stopped: str = "Stopped."
) -> Callable[[argparse.Namespace], int]:
    """A problem that the user can mend is one sentence, and so is Ctrl-C."""

    def run_and_say(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except KeyboardInterrupt:
            return complain(stopped, INTERRUPTED)
        except (ValueError, OSError, TrainError) as error:
            return complain(error)

    return run_and_say
