"""*Download motion modules*: the list of known files in the accordion, and a button that fetches one of them.

The download runs in a thread of its own, and goes on when the page is closed. While it runs the page asks for news:
each answer changes the line under the button, and that change asks again. So nothing depends on gradio's queue.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from modules import paths

from animatediff_ext.catalogue import KNOWN, Fetched, HubError, KnownFile, Places, fetch, known_by_file_name
from animatediff_ext.catalogue import readable_size as readable
from animatediff_ext.catalogue.known import TITLES
from animatediff_ext.catalogue.places import controlnet_folders
from animatediff_ext.webui import host, loras, models

_NEWS_EVERY_S = 0.5


def places() -> Places:
    """The WebUI's folders."""
    models_folder = Path(paths.models_path)
    return Places(
        motion_modules=tuple(models.folders()),
        loras=tuple(loras.lora_folders() or [models_folder / "Lora"]),
        controlnets=tuple(controlnet_folders(host.setting("control_net_models_path"), models_folder)),
    )


class _Stopped(Exception):
    """The user does not want the file any more."""


class Getting:
    """The download that runs, or the last one that did. One at a time: two would only share the line."""

    def __init__(self):
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._stop = threading.Event()
        self._news = ""

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def news(self) -> str:
        """One line on how it is going, or how it ended; empty where nothing has been fetched yet."""
        return self._news

    def begin(self, file: KnownFile, folder: Path) -> None:
        """Does nothing while another runs."""
        with self._start:
            if self.is_running:
                return
            self._stop.clear()
            self._news = f"{file.file_name}: asking the Hugging Face Hub …"
            self._thread = threading.Thread(target=self._run, args=(file, folder), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Until it has ended, but no longer than this."""
        if self._thread:
            self._thread.join(seconds)

    def _run(self, file: KnownFile, folder: Path) -> None:
        began, first = time.monotonic(), None

        def progress(have: int, size: int) -> None:
            nonlocal first
            if self._stop.is_set():
                raise _Stopped
            first = have if first is None else first
            rate = (have - first) / max(time.monotonic() - began, 1e-3)
            step = "checking" if have == size else f"{readable(int(rate))}/s"
            self._news = f"{file.file_name}: {readable(have)} of {readable(size)} ({have / size:.0%}), {step} …"

        try:
            self._news = _ended(file, fetch(file, folder, progress))
        except _Stopped:
            self._news = f"⚠ {file.file_name}: stopped. What has arrived is kept, and Download goes on from there."
        except HubError as problem:
            self._news = f"⚠ {problem}"
        except Exception as problem:  # of a thread nobody hears
            self._news = f"⚠ {file.file_name} could not be fetched ({type(problem).__name__}: {problem})."
            raise


def _ended(file: KnownFile, fetched: Fetched) -> str:
    how = "was there already" if fetched.was_there else "is there, whole and checked"
    where = "and can be chosen above" if file.kind == "motion-module" else f"in {fetched.path.parent}"
    return f"✓ {file.file_name} {how}, {where}."


GETTING = Getting()


def section(prefix: str, refresh: Callable[..., Sequence[Any]], inputs: list, outputs: list) -> None:
    """Builds the group. When a file has arrived, ``outputs`` become what ``refresh`` makes of ``inputs``."""

    def answer(*values):
        running = GETTING.is_running
        others = [gr.update() for _ in outputs] if running else refresh(*values)
        return (_line(running), gr.update() if running else _table(), *others)

    def get(file_name, *values):
        file = known_by_file_name(file_name or "")
        if file:
            GETTING.begin(file, places().for_new(file.kind))
        return answer(*values)

    def news(*values):
        if not GETTING.news:  # a page that has just been opened: leave it as it is
            return [gr.update() for _ in (line, table, *outputs)]
        if GETTING.is_running:
            GETTING.wait(_NEWS_EVERY_S)
        # The answer to the last question is the line that is shown already, so that nobody asks again.
        return answer(*values)

    with gr.Accordion("Download motion modules", open=False, elem_id=f"{prefix}get"):
        table = gr.HTML(_table(), elem_id=f"{prefix}get-list")
        with gr.Row():
            chosen = gr.Dropdown(
                choices=[file.file_name for file in KNOWN],
                value=KNOWN[0].file_name,
                label="File",
                info="it comes from the Hugging Face Hub, is checked, and is put into its folder",
                elem_id=f"{prefix}get-file",
            )
            button = gr.Button("Download", elem_id=f"{prefix}get-button")
            stop = gr.Button("Stop", elem_id=f"{prefix}get-stop")
        line = gr.HTML(_line(GETTING.is_running), elem_id=f"{prefix}get-news")
    how = {"queue": False, "show_progress": False}
    button.click(fn=get, inputs=[chosen, *inputs], outputs=[line, table, *outputs], **how)
    line.change(fn=news, inputs=inputs, outputs=[line, table, *outputs], **how)
    stop.click(fn=GETTING.stop, **how)


def _line(running: bool) -> str:
    # A line that is the same as before would be no change; while it runs, the page has to ask again.
    tick = f" data-at='{time.monotonic():.2f}'" if running else ""
    return f"<p class='animatediff-status' role='status'{tick}>{html.escape(GETTING.news)}</p>"


def _table() -> str:
    present = places().present()
    rows = []
    for kind, title in TITLES.items():
        rows.append(f"<tr><th colspan='5' scope='rowgroup'>{title}</th></tr>")
        for file in (file for file in KNOWN if file.kind == kind):
            here = "✓" if file.file_name in present else ""
            cells = (here, file.file_name, f"{file.family}, {file.base}", readable(file.size_bytes), file.use)
            rows.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("Installed", "File", "Family", "Size", "Use"))
    return (
        "<div class='animatediff-known'><table><thead><tr>"
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
