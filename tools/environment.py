"""Set up what the course runs in: the Python environment and the browser's libraries."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = Path(os.environ.get("COURSE_VENV") or ROOT / ".venv")
BUILD = ROOT / "_build"
LOGS = BUILD / "log"
LIBRARIES = BUILD / "libraries"

NO_NETWORK = re.compile(
    r"name resolution|Name or service not known|No address associated|getaddrinfo|ENOTFOUND|ECONNREFUSED"
    r"|EAI_AGAIN|Connection refused|Network is unreachable|dns error|error sending request"
    r"|NewConnectionError|ConnectTimeout"
    r"|Could not connect|Failed to fetch|No matching distribution found|ConnectionError|timed out",
    re.IGNORECASE,
)


class Failure(Exception):
    """Something the user can mend; the message says how."""


def say(text: str) -> None:
    print(text, flush=True)


def executable(name: str) -> Path:
    """Return a program of the environment."""
    return VENV / ("Scripts" if os.name == "nt" else "bin") / (name + (".exe" if os.name == "nt" else ""))


def python() -> str:
    return str(executable("python"))


def fingerprint(*files: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def run_quietly(command: list, log: str, *, progress=None, **options) -> str:
    """Run a command, keep its output in a log, show one moving line; raise Failure if it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    start, done = time.monotonic(), threading.Event()

    def watch():
        moving, last = sys.stdout.isatty(), 0.0
        while not done.wait(0.5):
            seconds = time.monotonic() - start
            if moving or seconds - last >= 15:
                text = f"    {progress() if progress else 'working'} ({seconds:.0f} s)"
                print(f"\r{text:<70}" if moving else text, end="" if moving else "\n", flush=True)
                last = seconds
        if moving:
            print("\r" + " " * 74 + "\r", end="", flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with path.open("w", encoding="utf-8", errors="replace") as out:
            code = subprocess.run(
                [str(c) for c in command], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, **options
            ).returncode
    finally:
        done.set()
        watcher.join()
    text = path.read_text(encoding="utf-8", errors="replace")
    if code:
        raise CommandFailed(command, code, text, path)
    return text


class CommandFailed(Failure):
    def __init__(self, command, code, output, path):
        self.output = output
        tail = "\n".join("    " + line for line in output.strip().splitlines()[-12:])
        where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        super().__init__(
            f"{Path(str(command[0])).name} stopped with status {code}. Its last words:\n{tail}\nAll: {where}"
        )


def ensure_environment() -> None:
    """Make `.venv` with exactly the locked packages, or reuse it if it was made from this lock."""
    lock = ROOT / "requirements.txt"
    stamp, wanted = VENV / "course-stamp", fingerprint(lock, ROOT / "pyproject.toml")
    if stamp.is_file() and stamp.read_text() == wanted and executable("python").exists():
        return
    uv = shutil.which("uv")
    total = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    start = time.monotonic()
    say(
        f"Setting up the environment {VENV.name} with {'uv' if uv else 'venv and pip'} (once, about a minute)"
    )
    if stamp.exists():
        stamp.unlink()
    try:
        if not executable("python").exists():
            make_venv(uv)
        installer = [uv, "pip", "install", "--python", python(), "--compile-bytecode"] if uv else None
        installer = installer or [python(), "-m", "pip", "install", "--disable-pip-version-check"]

        def progress():
            found = sum(1 for _ in VENV.glob("**/site-packages/*.dist-info"))
            return f"{found} of about {total} packages installed"

        run_quietly([*installer, "-r", lock], "install", progress=progress)
    except CommandFailed as failure:
        if NO_NETWORK.search(failure.output):
            raise Failure(
                "The packages in requirements.txt could not be fetched: is there a network connection?\n"
                "Once the environment exists, no network is needed.\n" + str(failure)
            ) from None
        raise
    stamp.write_text(wanted)
    say(f"    ready after {time.monotonic() - start:.0f} s")


def make_venv(uv) -> None:
    if VENV.exists():
        shutil.rmtree(VENV)  # half made: start again
    try:
        run_quietly(
            [uv, "venv", "--python", sys.executable, VENV] if uv else [sys.executable, "-m", "venv", VENV],
            "venv",
        )
    except CommandFailed as failure:
        if not uv and re.search(r"ensurepip|No module named venv", failure.output):
            shutil.rmtree(VENV, ignore_errors=True)
            raise Failure(
                "This Python has no venv module. Install it (on Debian and Ubuntu: apt install "
                "python3-venv), or install uv, and run the command again."
            ) from None
        raise


def ensure_libraries() -> bool:
    """Fetch MathJax, require.js and the widget manager with npm; where that fails, say so and go on."""
    lock = ROOT / "package-lock.json"
    stamp, wanted = BUILD / "libraries.stamp", fingerprint(lock, Path(__file__))
    if stamp.is_file() and stamp.read_text() == wanted:
        return True
    npm = shutil.which("npm")
    if not npm:
        say(
            "Node is missing: the pages will load MathJax and the widgets from a CDN, so they need a network."
        )
        return False
    say("Fetching the browser's libraries (once)")
    work = BUILD / "npm"
    work.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, work / name)
    try:
        run_quietly([npm, "ci", "--no-progress", "--prefix", work], "npm")
    except CommandFailed as failure:
        why = "no network" if NO_NETWORK.search(failure.output) else "see _build/log/npm.log"
        say(f"npm could not fetch them ({why}): the pages will load them from a CDN.")
        return False
    place_libraries(work / "node_modules", LIBRARIES / "vendor")
    shutil.rmtree(work)
    stamp.write_text(wanted)
    return True


def place_libraries(modules: Path, vendor: Path) -> None:
    """Copy what pages load, and what MathJax's own menu may ask for later."""
    shutil.rmtree(vendor, ignore_errors=True)
    es5 = modules / "mathjax" / "es5"
    for part in ("output/chtml/fonts", "input/tex/extensions", "ui", "a11y", "sre"):
        shutil.copytree(es5 / part, vendor / "mathjax" / part)
    shutil.copy(es5 / "tex-mml-chtml.js", vendor / "mathjax")
    shutil.copy(modules / "mathjax" / "LICENSE", vendor / "mathjax")
    widgets = vendor / "widgets"
    widgets.mkdir(parents=True)
    shutil.copy(modules / "requirejs" / "require.js", widgets)
    shutil.copytree(
        modules / "@jupyter-widgets" / "html-manager" / "dist",
        widgets,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.map", "libembed*", "embed.js", "*.LICENSE.txt", "*.d.ts"),
    )
