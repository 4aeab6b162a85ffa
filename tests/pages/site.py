"""Serve the built site on this machine, and open its pages in a browser that is cut off from all else."""

import gzip
import io
import os
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.browser import ARGUMENTS, find_chromium

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("BOOK_SITE", ROOT / "_build" / "html"))
DESKTOP = {"width": 1280, "height": 900}
MOVING = ".widget-vbox:has(.mo-frame)"  # what mini_ot.plot.slider makes
PHONE = {"width": 390, "height": 844}


def pages() -> list[str]:
    """Return the addresses of all built pages, relative to the site (index.html only leads on)."""
    found = (p.relative_to(SITE) for p in SITE.rglob("*.html"))
    return sorted(
        p.as_posix() for p in found if p.parts[0] not in {"_static", "vendor"} and p.name != "index.html"
    )


def text(page: str) -> str:
    return (SITE / page).read_text(encoding="utf-8")


def moves(page: str) -> bool:
    """Tell whether a page has a picture that moves, or another widget."""
    return "application/vnd.jupyter.widget-view+json" in text(page)


def notebook_pages() -> list[str]:
    return [p for p in pages() if (ROOT / p).with_suffix(".ipynb").exists()]


def chapters() -> list[str]:
    return [p for p in notebook_pages() if re.match(r"\d\d_", Path(p).name)]


def why_not() -> str:
    """Return why the pages cannot be tested, or nothing."""
    if not (SITE / "index.html").exists():
        return "the book is not built: run 'make build'"
    if not find_chromium():
        return "no Chromium found"
    if any(re.search(r"<script[^>]*src=\"https?://", text(page)) for page in pages()):
        return "the book was built without Node, so its pages load MathJax and widgets from a CDN"
    return ""


# --- server ---------------------------------------------------------------------------------------------


@cache
def _packed(path: str, changed: float) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6)


TEXT = {".html", ".css", ".js", ".json", ".svg", ".txt", ".map"}


class Handler(SimpleHTTPRequestHandler):
    """A plain file server that packs text, as GitHub Pages does: the bytes sent are true to life."""

    def log_message(self, *arguments):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        packs = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (packs and path.is_file() and path.suffix in TEXT):
            return super().send_head()
        body = _packed(str(path), path.stat().st_mtime)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


class Server(ThreadingHTTPServer):
    request_queue_size = (
        128  # the default of 5 turns connections away when a page asks for many files at once
    )


@contextmanager
def served(folder: Path):
    """Serve a folder on a free port of this machine; gives the address."""
    server = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@contextmanager
def chromium():
    """Start the Chromium that was found."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()  # asks Playwright itself, so not within its context
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()


# --- visits ---------------------------------------------------------------------------------------------


@dataclass
class Visit:
    """A page that is open, and all that it asked for and complained of."""

    address: str
    page: object = None
    outside: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    bytes: Counter = field(default_factory=Counter)  # as transferred, by file
    unpacked: int = 0


@contextmanager
def visit(browser, base: str, path: str, *, size=DESKTOP, theme="light", folder: Path = SITE):
    """Open a page; whatever it wants from another origin is refused and noted."""
    context = browser.new_context(viewport=size, color_scheme=theme, service_workers="block")
    context.set_default_timeout(60_000)
    # The theme keeps the reader's choice there.
    context.add_init_script(f"localStorage.mode = '{theme}'; localStorage.theme = '{theme}'")
    page = context.new_page()
    seen = Visit(f"{base}/{path}", page)

    def judge(route):
        url = route.request.url
        if url.startswith((base + "/", "data:", "blob:")):
            route.continue_()
        else:
            seen.outside.append(url)
            route.abort()

    def note(response):
        place = unquote(urlsplit(response.url).path)
        if response.status >= 400:
            seen.missing.append(f"{response.status} {place}")
        elif response.url.startswith(base + "/"):
            seen.bytes[place] += int(response.headers.get("content-length", 0))
            file = folder / place.lstrip("/")
            seen.unpacked += file.stat().st_size if file.is_file() else 0

    def say(message):
        # A file that is missing is reported once, by name, in `missing`.
        if message.type == "error" and "Failed to load resource" not in message.text:
            seen.errors.append(message.text)

    context.route("**/*", judge)
    page.on("response", note)
    page.on("console", say)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    try:
        page.goto(seen.address, wait_until="load")
        settle(page)
        yield seen
    finally:
        context.close()


# Playwright's own "networkidle" was seen never to come, though nothing was missing on the page.
QUIET = """async () => {
  const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const until = Date.now() + 20000;
  const waiting = () => document.fonts.status !== 'loaded' ||
    [...document.images].some(i => !i.complete && i.loading !== 'lazy');
  for (let files = -1; Date.now() < until;) {
    const now = performance.getEntriesByType('resource').length;
    if (now === files && !waiting()) return;
    files = now;
    await wait(500);
  }
}"""


def settle(page) -> None:
    """Wait until formulas and widgets stand."""
    if page.locator("script[src*='mathjax']").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise.then(() => null)")
    views = page.locator("script[type='application/vnd.jupyter.widget-view+json']").count()
    if views:
        page.wait_for_function(
            "views => document.querySelectorAll('.cell_output > .jupyter-widgets, .output .jupyter-widgets, "
            ".jupyter-widgets.widget-vbox').length >= views",
            arg=views,
        )
    page.evaluate(QUIET)


def picture(page, number: int = 0):
    """Return the moving picture of that number as (box, slider's handle, frame that is shown)."""
    box = page.locator(MOVING).nth(number)
    return box, box.locator(".widget-slider [role=slider]").first, box.locator("img.mo-frame:visible").first
