"""What `make book`, `make test` and the others do; called by tools/course.py."""

import argparse
import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import webbrowser
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tools.environment import (
    BUILD,
    LIBRARIES,
    LOGS,
    ROOT,
    CommandFailed,
    Failure,
    ensure_environment,
    ensure_libraries,
    executable,
    python,
    run_quietly,
    say,
)

SITE = BUILD / "html"
STUDENTS = BUILD / "students"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


# ---- build and serve ----


def build(edition: str = "teachers", *, fresh: bool = False) -> Path:
    """Build the book (warnings are errors) and return the site's folder."""
    if edition not in ("teachers", "students"):
        raise Failure(f"EDITION must be 'teachers' or 'students', got {edition!r}")
    ensure_libraries()
    source, output = ROOT, BUILD
    if edition == "students":
        source, output = STUDENTS / "source", STUDENTS / "_build"
        run_quietly([python(), "tools/notebooks.py", "students", source], "students")
    if fresh:
        for part in ("html", ".doctrees", ".jupyter_cache", "jupyter_execute"):
            shutil.rmtree(output / part, ignore_errors=True)
    if edition == "students" and not (output / ".jupyter_cache").exists():
        # Both editions have the same code; course_build drops the copy where it is out of date.
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(BUILD / ".jupyter_cache", output / ".jupyter_cache")
    environment = {**os.environ, "COURSE_LIBRARIES": str(LIBRARIES), "COURSE_ROOT": str(ROOT)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    say(
        f"Building the {edition}' edition"
        + (" from nothing" if fresh or not (output / "html").exists() else "")
    )
    start = time.monotonic()
    log = f"build-{edition}"
    command = [
        executable("jupyter-book"),
        "build",
        source,
        "--path-output",
        output.parent,
        "-W",
        "-n",
        "--keep-going",
    ]
    try:
        run_quietly(command, log, progress=functools.partial(last_step, LOGS / f"{log}.log"), env=environment)
    except CommandFailed as failure:
        lines = COLOUR.sub("", failure.output).splitlines()
        bad = [line for line in lines if re.search(r"WARNING:|ERROR:|Error:|Exception:", line)]
        raise Failure(
            "The book did not build:\n" + "\n".join(f"    {b}" for b in bad[:30]) + f"\n{failure}"
        ) from None
    say(f"    built in {time.monotonic() - start:.0f} s")
    return output / "html"


def last_step(log: Path) -> str:
    """Say which step a build is at."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return "starting"
    for line in reversed(lines):
        line = COLOUR.sub("", line).strip()
        if found := re.search(r"([\w-]+\.ipynb): (Execut(?:ing|ed)|Using cached)", line):
            return f"{found[2].lower()} {found[1]}"
        if found := re.match(r"(reading|writing|copying)[^%]*\[ *\d+%\]", line):
            return found[0]
    return "starting"


def serve(site: Path, port: int | None, open_page: bool) -> None:
    """Serve the site on this machine until interrupted."""
    if not (site / "index.html").exists():
        raise Failure(f"There is no built site in {site.relative_to(ROOT)}: run make book first.")
    server = make_server(site, port)
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    say(f"\nThe book is at {address}   (Ctrl+C stops)")
    if open_page:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("stopped")
    finally:
        server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers share a port
    daemon_threads = True


def make_server(site: Path, port: int | None) -> Server:
    """Open a server on the port asked for, or on the first free one from 8000 on."""
    handler = functools.partial(QuietHandler, directory=str(site))
    for candidate in [port] if port is not None else range(8000, 8050):
        try:
            if port_is_taken(candidate):
                raise OSError
            server = Server(("127.0.0.1", candidate), handler)
        except (OSError, OverflowError):
            if port is not None:
                raise Failure(
                    f"Port {port} is taken or not allowed: choose another with --port, or leave it out."
                ) from None
            continue
        if port is None and candidate != 8000:
            say(f"Port 8000 is taken, using {candidate}.")
        return server
    raise Failure("The ports 8000 to 8049 are all taken: choose one with --port.")


def port_is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return port != 0 and probe.connect_ex(("127.0.0.1", port)) == 0


# ---- test ----


class Stage:
    """One stage of `make test` and what came of it."""

    def __init__(self, name: str):
        self.name, self.seconds, self.ok = name, 0.0, False
        self.passed = self.failed = 0
        self.skipped: list[str] = []

    def count(self, report: Path) -> None:
        """Add up a JUnit report of pytest."""
        for case in ElementTree.parse(report).iter("testcase"):
            if (skip := case.find("skipped")) is not None:
                self.skipped.append(skip.get("message", "no reason given"))
            elif case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            else:
                self.passed += 1


TWO_AT_A_TIME = ("-n", "2", "--dist")  # then how pytest-xdist spreads the tests over two workers


def stream(command: list, **environment: str) -> int:
    """Run a command in the environment with its output shown."""
    return subprocess.run([str(c) for c in command], cwd=ROOT, env={**os.environ, **environment}).returncode


def pytest(stage: Stage, *arguments, prefix=("-m",), **environment: str) -> bool:
    """Run pytest and count what it ran."""
    LOGS.mkdir(parents=True, exist_ok=True)
    report = LOGS / f"{re.sub('[^a-z]+', '-', stage.name)}.xml"
    report.unlink(missing_ok=True)
    code = stream([python(), *prefix, "pytest", "-q", f"--junitxml={report}", *arguments], **environment)
    if report.exists():
        stage.count(report)
    return code == 0 and stage.passed + len(stage.skipped) > 0


def stage_style(stage):
    """Format, lint, generated cells up to date."""
    code = [
        stream([executable("ruff"), "format", "--check", "-q", "."]),
        stream([executable("ruff"), "check", "-q", "."]),
    ]
    code.append(stream([python(), "tools/notebooks.py", "verify"]))
    stage.passed, stage.failed = code.count(0), len(code) - code.count(0)
    return not any(code)


def stage_unit(stage):
    """Package, exercises, notebooks' form, commands."""
    return pytest(stage, "tests", "--ignore=tests/pages", "--durations=5", *TWO_AT_A_TIME, "loadfile")


def stage_no_jit(stage):
    """Unit tests with Numba switched off, for coverage of the kernels' lines."""
    coverage = ["-m", "coverage", "run", "--source=mini_ot", f"--data-file={LOGS / 'coverage'}", "-m"]
    files = [
        p
        for p in sorted((ROOT / "tests").glob("test_*.py"))
        if "import mini_ot" in p.read_text(encoding="utf-8")
    ]
    files = [f for f in files if f.stem not in ("test_exercises", "test_notebook_tool")]
    ok = pytest(stage, "-m", "not jit", *files, prefix=coverage, NUMBA_DISABLE_JIT="1")
    return (
        stream([python(), "-m", "coverage", "report", f"--data-file={LOGS / 'coverage'}", "--skip-covered"])
        == 0
        and ok
    )


def stage_notebooks(stage):
    """Run every cell of every chapter, compare the tables of record."""
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
    notebooks = sorted((ROOT / "book").glob("*.ipynb"))
    options += ["--nbval-sanitize-with=tests/nbval_sanitize.cfg", "--durations=3", *TWO_AT_A_TIME]
    return pytest(stage, *options, "loadfile", *notebooks)


def stage_book(stage):
    """Build both editions from nothing, warnings as errors."""
    for edition in ("teachers", "students"):
        build(edition, fresh=True)
        stage.passed += 1
    return True


def stage_pages(stage):
    """Look at the built pages in a browser."""
    run = subprocess.run([python(), "tools/browser.py"], cwd=ROOT, capture_output=True, text=True)
    word = run.stdout.strip()
    environment = {"CHROMIUM": word} if run.returncode == 0 else {}
    return pytest(stage, "tests/pages", "-p", "no:cacheprovider", *TWO_AT_A_TIME, "loadgroup", **environment)


def stage_binder(stage):
    """Do what Binder would do, in a fresh environment, and use the result in a browser."""
    code = stream([python(), "tools/check_binder.py"])
    if code == 77:
        stage.skipped.append("Binder check: see its last line above")
    else:
        stage.passed, stage.failed = int(code == 0), int(code != 0)
    return code in (0, 77)


STAGES = {
    "style": stage_style,
    "unit": stage_unit,
    "no-jit": stage_no_jit,
    "notebooks": stage_notebooks,
    "book": stage_book,
    "pages": stage_pages,
    "binder": stage_binder,
}


def test(only: list[str]) -> int:
    """Run the stages in order, go on after a failure, and sum up."""
    unknown = [name for name in only if name not in STAGES]
    if unknown:
        raise Failure(f"There is no stage {', '.join(unknown)}; the stages are {', '.join(STAGES)}.")
    done = []
    for name in only or STAGES:
        stage = Stage(name)
        say(f"\n=== {name}: {STAGES[name].__doc__}")
        start = time.monotonic()
        try:
            stage.ok = STAGES[name](stage)
        except Failure as failure:
            say(str(failure))
        stage.failed += int(not stage.ok and stage.failed == 0)
        stage.seconds = time.monotonic() - start
        done.append(stage)
    return summary(done)


def summary(done: list[Stage]) -> int:
    """Print the table, name what was skipped, and return the exit status."""
    say(f"\n{'stage':<12}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for s in done:
        say(
            f"{s.name:<12}{s.seconds:>8.0f}{s.passed:>8}{s.failed:>8}{len(s.skipped):>8}"
            + ("" if s.ok else "  FAILED")
        )
    skipped = [reason for s in done for reason in s.skipped]
    for reason in sorted(set(skipped)):
        say(f"skipped {skipped.count(reason)}: {reason}")
    strict = bool(os.environ.get("REQUIRE_ALL")) and bool(skipped)
    if strict:
        say("REQUIRE_ALL is set: what was skipped counts as failed.")
    say(f"{sum(s.passed for s in done)} passed, {sum(s.failed for s in done)} failed, {len(skipped)} skipped")
    return int(strict or not all(s.ok for s in done))


# ---- the rest ----


def bench() -> int:
    """Run every benchmark; they print tables and test nothing."""
    files = sorted(p for p in (ROOT / "benchmarks").glob("*.py") if not p.name.startswith("_"))
    return max([stream([python(), "-m", f"benchmarks.{p.stem}"]) for p in files], default=0)


def students() -> int:
    """Pack the notebooks without solutions into dist/students.zip."""
    source = STUDENTS / "source"
    run_quietly([python(), "tools/notebooks.py", "students", source], "students")
    (ROOT / "dist").mkdir(exist_ok=True)
    made = shutil.make_archive(str(ROOT / "dist" / "students"), "zip", source)
    say(f"Written: {Path(made).relative_to(ROOT)}")
    return 0


def lock() -> int:
    """Compile requirements.txt anew from pyproject.toml."""
    uv = shutil.which("uv") or (str(executable("uv")) if executable("uv").exists() else None)
    if uv is None:
        raise Failure("make lock needs uv: pip install uv")
    base = [uv, "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "--no-header"]
    base += ["--no-annotate", "--upgrade", "-q"]
    everything = run_quietly([*base, "--extra", "book", "--extra", "test"], "lock")
    head = (
        "# Exact versions of everything the book, its tests and its editors need (Python 3.11 and newer).\n"
        "# Compiled from pyproject.toml by 'make lock'; edit pyproject.toml, not this file.\n-e .\n"
    )
    (ROOT / "requirements.txt").write_text(head + everything, encoding="utf-8")
    say("Written: requirements.txt; tests/test_launch.py says if binder/requirements.txt lags.")
    return 0


def clean() -> int:
    """Remove everything that was built; the environment stays."""
    for folder in (BUILD, ROOT / "dist", ROOT / ".pytest_cache", ROOT / ".ruff_cache"):
        shutil.rmtree(folder, ignore_errors=True)
    say("Removed what was built (the environment .venv stays).")
    return 0


def main(arguments: list[str]) -> int:
    """Read the command line, set up the environment, run the command."""
    # OpenBLAS's threads wait by spinning: where anything else runs they made a chapter four times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(prog="course.py", description="Build, read and test the course.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="command")

    def verb(name, text):
        return verbs.add_parser(name, help=text, description=text)

    for name, text in (
        ("book", "set up, build, and serve the book on this machine"),
        ("build", "set up and build the book without serving it"),
        ("serve", "serve the book as it was last built"),
    ):
        sub = verb(name, text)
        sub.add_argument(
            "--edition", default=os.environ.get("EDITION") or "teachers", help="teachers or students"
        )
        if name != "build":
            sub.add_argument("--port", type=int, help="default: the first free one from 8000 on")
            sub.add_argument("--no-open", action="store_true", help="do not open a browser window")
    verb("test", "set up and test everything").add_argument("stages", nargs="*", help=", ".join(STAGES))
    verb("setup", "set up the environment and the browser's libraries")
    verb("bench", "compare speed and quality with other libraries")
    verb("students", "pack the notebooks without solutions")
    verb("lock", "compile requirements.txt anew")
    verb("clean", "remove what was built")
    asked = parser.parse_args(arguments)
    try:
        return carry_out(asked)
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def carry_out(asked) -> int:
    if asked.verb == "clean":
        return clean()
    if asked.verb == "serve":
        site = SITE if asked.edition == "teachers" else STUDENTS / "_build" / "html"
        serve(site, asked.port, can_open(asked))
        return 0
    if asked.verb == "book" and asked.port is not None:
        make_server(ROOT, asked.port).server_close()  # say now, not after the build, that a port is taken
    ensure_environment()
    match asked.verb:
        case "book":
            serve(build(asked.edition), asked.port, can_open(asked))
        case "build":
            build(asked.edition)
        case "setup":
            ensure_libraries()
        case "test":
            return test(asked.stages)
        case "bench":
            return bench()
        case "students":
            return students()
        case "lock":
            return lock()
    return 0


def can_open(asked) -> bool:
    """Whether there is a screen to open a page on."""
    if asked.no_open or os.environ.get("CI") or not sys.stdout.isatty():
        return False
    return (
        os.name == "nt"
        or sys.platform == "darwin"
        or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    )
