"""Find a Chromium for the tests that look at pages, or install one where that can be done."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/usr/bin/chromium",
    "/snap/bin/chromium",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
# A browser under test talks to nobody but the page's own server.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the path of a Chromium: the variable CHROMIUM, the PATH, the usual places, Playwright's own."""
    asked = os.environ.get("CHROMIUM")
    if asked:
        return asked if Path(asked).exists() else None
    for name in NAMES:
        if found := shutil.which(name):
            return found
    for place in PLACES:
        if Path(place).exists():
            return place
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as p:
            own = p.chromium.executable_path
        return own if Path(own).exists() else None
    except Exception:  # Playwright missing or broken: there is no browser of its own either
        return None


def ensure_chromium() -> tuple[str | None, str]:
    """Return a Chromium's path, installing one if need be, and a word on what happened."""
    if found := find_chromium():
        return found, f"found {found}"
    tried = []
    if platform.system() == "Linux" and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 600}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, **quiet)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(command, env=environment, **quiet)
        tried.append("apt-get install chromium")
        if found := find_chromium():
            return found, "installed by apt-get"
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    tried.append("playwright install chromium")
    if found := find_chromium():
        return found, "installed by Playwright"
    return None, "no Chromium on the PATH, and these did not give one: " + "; ".join(tried)


if __name__ == "__main__":
    path, word = ensure_chromium()
    print(path or word)
    sys.exit(0 if path else 1)
