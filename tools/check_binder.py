"""Do here what Binder would do, without Binder and without Docker, and use the result in a browser.

    python tools/check_binder.py [NOTEBOOK]   check it (default: the first chapter), exit status 0 if all held
    python tools/check_binder.py --lock       write binder/requirements.txt anew from the lock

repo2docker's own buildpack is asked what it would run on a clean copy of the files; just that is run in a
fresh environment.  JupyterLab is started from there, a chapter opened in Chromium, all its cells run, a
slider moved.  The exit status is 77 where that cannot be tried: no network, no Chromium.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools.browser import ARGUMENTS, find_chromium  # noqa: E402
from tools.environment import NO_NETWORK  # noqa: E402

# What the chapters and JupyterLab need; no Sphinx, so that the image is small and starts soon.
WANTED = [
    "numpy",
    "scipy",
    "numba",
    "matplotlib",
    "ipywidgets",
    "tqdm",
    "scikit-learn",
    "ipykernel",
    "jupyterlab",
    "jupyterlab-myst",
]
# Binder's machine, for the markers in the lock and in the packages' metadata.
BINDER = {
    "python_version": "3.11",
    "python_full_version": "3.11.14",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
HEAD = """\
# What a chapter needs on Binder: the package, JupyterLab and what these need, in the versions of the lock.
# Written by 'python tools/check_binder.py --lock'; a folder binder/ makes Binder ignore all files outside.
-e .
"""


class Impossible(Exception):
    """The check cannot be made here; the message says why."""


class Wrong(Exception):
    """Binder would not serve the course; the message says what is wrong."""


# ---- binder/requirements.txt ----


def pins(text: str) -> dict[str, str]:
    """Return the versions that a requirements file names for Binder's machine."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = {}
    for line in text.splitlines():
        if re.match(r"[A-Za-z]", line):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(BINDER | {"extra": ""}):
                found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def slim_requirements() -> str:
    """Return what binder/requirements.txt should hold."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    locked = pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    needed, seen, open_ = {}, set(), [Requirement(name) for name in WANTED]
    while open_:
        wanted = open_.pop()
        name = canonicalize_name(wanted.name)
        new = {(name, extra) for extra in ("", *wanted.extras)} - seen
        if not new or name not in locked:  # what is not locked is for another platform
            continue
        seen |= new
        needed[name] = locked[name]
        for requirement in map(Requirement, requires(name) or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate(BINDER | {"extra": extra}) for _, extra in new):
                open_.append(requirement)
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(needed.items()))


# ---- what the buildpack says ----


def copy_of_repository(folder: Path) -> Path:
    """Copy the files that a clone would have."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-coz", "--exclude-standard"], capture_output=True, timeout=60
    )
    names = [n for n in listed.stdout.decode().split("\0") if n]
    if listed.returncode or not names:
        raise Impossible("this is no git checkout")
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build_plan(repository: Path) -> dict:
    """Ask repo2docker what it would do with a repository."""
    from repo2docker.app import Repo2Docker

    app, here = Repo2Docker(), Path.cwd()
    os.chdir(repository)  # buildpacks look at the current folder
    try:
        for kind in app.buildpacks:
            pack = kind(app.base_image)
            if pack.detect():
                break
        else:
            raise Wrong("no buildpack wants this repository")
        return {
            "buildpack": kind.__name__,
            "python": pack.python_version,
            "assemble": [s for _, s in [*pack.get_preassemble_scripts(), *pack.get_assemble_scripts()]],
            "post build": pack.get_post_build_scripts(),
            "start": pack.get_start_script(),
        }
    finally:
        os.chdir(here)


# ---- carrying it out ----


@contextmanager
def step(name: str):
    """Print what is done and how long it took."""
    print(f"{name} ... ", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"FAILED after {time.monotonic() - start:.1f} s", flush=True)
        raise
    print(f"{time.monotonic() - start:.1f} s", flush=True)


def run(command, *, timeout: float, **options) -> str:
    """Run a command in a process group of its own, and end the whole group when its time is over."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        **options,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        stop(process)
        raise Wrong(f"{command} took more than {timeout:.0f} s") from None
    except BaseException:
        stop(process)
        raise
    if process.returncode:
        if NO_NETWORK.search(output):
            raise Impossible("no network: the packages could not be fetched")
        raise Wrong(f"{command} failed with {process.returncode}:\n{output[-3000:]}")
    return output


def stop(process: subprocess.Popen) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=10)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def fresh_environment(folder: Path, version: str) -> dict[str, str]:
    """Make an empty environment of Binder's Python; return the variables that the scripts run with."""
    uv = shutil.which("uv")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = sys.executable if ours == version else shutil.which(f"python{version}")
    if base:
        run([base, "-m", "venv", str(folder)], timeout=120)
    elif uv:
        run([uv, "venv", "-q", "--seed", "--python", version, str(folder)], timeout=300)
    else:
        raise Impossible(f"there is neither Python {version}, which Binder would use, nor uv to fetch it")
    own = ("JUPYTER", "PYTHON", "VIRTUAL_ENV", "IPYTHON")
    settings = str(folder.parent / "settings")  # none of whoever runs this
    return {k: v for k, v in os.environ.items() if not k.startswith(own)} | {
        "JUPYTER_CONFIG_DIR": settings,
        "JUPYTER_DATA_DIR": settings,
        "JUPYTER_RUNTIME_DIR": settings,
        "JUPYTERLAB_SETTINGS_DIR": settings,
        "JUPYTERLAB_WORKSPACES_DIR": settings,
        "IPYTHONDIR": settings,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "KERNEL_PYTHON_PREFIX": str(folder),
        "NB_PYTHON_PREFIX": str(folder),
    }


@contextmanager
def jupyterlab(repository: Path, variables: dict[str, str], log: Path):
    """Start JupyterLab as Binder's image would, on a free port with a token; give its address and token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        str(Path(variables["NB_PYTHON_PREFIX"]) / "bin" / "jupyter"),
        "lab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--allow-root",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=repository,
            env=variables | {"JUPYTER_TOKEN": token},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                if process.poll() is not None:
                    raise Wrong(f"JupyterLab ended at once:\n{log.read_text()[-3000:]}")
                try:
                    request = urllib.request.Request(
                        f"{address}/api/status", headers={"Authorization": f"token {token}"}
                    )
                    urllib.request.urlopen(request, timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                raise Wrong("JupyterLab did not answer within two minutes")
            yield address, token
        finally:
            stop(process)


# ---- in the browser ----

# The notebook as JupyterLab holds it, and moving to a cell: lower cells are not drawn before they are near.
NOTEBOOK = "window.jupyterapp.shell.currentWidget.content"
READY = f"""() =>
  window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'
  && {NOTEBOOK}.model.cells.length > 3
"""
CELLS = f"() => {NOTEBOOK}.model.sharedModel.toJSON().cells"
GO_TO = f"""async i => {{
  const notebook = {NOTEBOOK};
  notebook.activeCellIndex = i;
  await notebook.scrollToItem(i, 'start');
}}"""
RUN_ALL = """() => {
  window.courseDone = false;
  window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.courseDone = true; });
}"""


def source(cell: dict) -> str:
    return "".join(cell["source"])


def use_chapter(address: str, token: str, notebook: str) -> None:
    """Open a chapter, run it all, move its slider, look at its exercises."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=60_000)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(60_000)
            page.route(
                "**/*",
                lambda r: (
                    r.continue_() if r.request.url.startswith((address, "data:", "blob:")) else r.abort()
                ),
            )
            with step("opening the chapter"):
                page.goto(f"{address}/lab/tree/{notebook}?token={token}")
                page.wait_for_function(READY)
            with step("running all its cells"):
                page.evaluate(RUN_ALL)
                page.wait_for_function("window.courseDone", timeout=300_000)
                cells = page.evaluate(CELLS)
                check_outputs(cells)
            with step("moving its slider"):
                at = next(i for i, c in enumerate(cells) if "mo.plot.slider" in source(c) and "outputs" in c)
                page.evaluate(GO_TO, at)
                move_slider(page)
            with step("looking at its exercises"):
                look_at_exercises(page, cells)
        except Exception as error:
            if type(error).__module__.startswith("playwright"):
                raise Wrong(f"in the browser: {error}") from error
            raise
        finally:
            browser.close()


def check_outputs(cells: list[dict]) -> None:
    """Check that each cell ran, without an error."""
    for cell in cells:
        if cell["cell_type"] == "code" and source(cell).strip():
            first = source(cell).strip().splitlines()[0]
            if not cell["execution_count"]:
                raise Wrong(f"not run: {first}")
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    raise Wrong(f"{output['ename']}: {output['evalue']} in: {first}")


def move_slider(page) -> None:
    """Move a slider by keyboard and see that its picture follows."""
    box = page.locator(".jp-OutputArea .widget-vbox:has(img.mo-frame)").first
    box.wait_for(state="visible")
    handle, frame = box.locator("[role=slider]").first, box.locator("img.mo-frame:visible").first
    before = frame.get_attribute("src")
    handle.focus()
    key = (
        "ArrowLeft"
        if handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        else "ArrowRight"
    )
    page.keyboard.press(key)
    for _ in range(100):
        if frame.get_attribute("src") != before:
            return
        page.wait_for_timeout(100)
    raise Wrong("the slider moved, its picture did not")


def look_at_exercises(page, cells: list[dict]) -> None:
    """Check that exercises are drawn as boxes (jupyterlab-myst) and not as the letters of their source."""
    places = [i for i, c in enumerate(cells) if source(c).startswith("```{exercise}")]
    if not places:
        raise Wrong("the chapter has no exercise")
    for at in places:
        title = source(cells[at]).split("\n")[0].removeprefix("```{exercise}").strip()
        page.evaluate(GO_TO, at)
        drawn = page.locator(".jp-MarkdownCell", has_text=title).first
        drawn.wait_for(state="visible")
        text = drawn.inner_text()
        if title not in text or "{exercise}" in text or ":label:" in text:
            raise Wrong(f"exercise {title!r} is shown as source: is jupyterlab-myst there?")


# ---- all of it ----


def check(notebook: str) -> None:
    if not find_chromium():
        raise Impossible("no Chromium found")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="binder-check-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        (work / "repository").mkdir()
        with step("copying the files of a clone"):
            repository = copy_of_repository(work / "repository")
        with step("asking repo2docker"):
            plan = build_plan(repository)
        for name, value in plan.items():
            print(f"    {name}: {value}")
        with step(f"making an empty environment of Python {plan['python']}"):
            variables = fresh_environment(work / "environment", plan["python"])
        for script in plan["assemble"]:
            with step("installing"):
                run(["bash", "-c", script], timeout=900, cwd=repository, env=variables)
        for script in plan["post build"]:
            with step(f"running {script}"):
                if not os.access(repository / script, os.X_OK):
                    raise Wrong(f"{script} is not executable")
                run([str(repository / script)], timeout=300, cwd=repository, env=variables)
        with ExitStack() as stack:
            with step("starting JupyterLab"):
                server = jupyterlab(repository, variables, work / "jupyter.log")
                address, token = stack.enter_context(server)
            use_chapter(address, token, notebook)
    print(f"Binder check: all held, {notebook}, {time.monotonic() - start:.0f} s")


def main(arguments: list[str]) -> int:
    if arguments == ["--lock"]:
        (ROOT / "binder" / "requirements.txt").write_text(slim_requirements(), encoding="utf-8")
        print("Written: binder/requirements.txt")
        return 0
    chapters = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("book/[0-9][0-9]_*.ipynb"))
    notebook = arguments[0] if arguments else chapters[0]
    if notebook not in chapters:
        print(__doc__)
        return 2
    try:
        check(notebook)
    except Impossible as why:
        print(f"Binder check skipped: {why}")
        return 77
    except Wrong as why:
        print(f"Binder check: {why}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
