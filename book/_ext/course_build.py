"""What this book adds to Sphinx: its own copy of the browser's libraries, and an honest execution cache.

Sphinx calls `setup`; `jupyter-book build .` therefore does the right thing with or without `make`.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

# These run before all other scripts.  The theme's Font Awesome must not replace icons that widgets still
# change: the widgets would stop at an error and the picture stand still.
KEEP_ICONS = "window.FontAwesomeConfig = {observeMutations: false};"
# The widget manager asks require.js where its fonts are.
FIND_FONTS = """
window.require = {paths: Object.fromEntries(
  ["/base", "/controls", "/html-manager", "/html-manager/dist/libembed-amd"].map(
    name => ["@jupyter-widgets" + name, "../vendor/widgets/" + name.split("/").pop()]))};
"""


def setup(app):
    # A change of the first makes Sphinx read every page again, one of the second write every page again.
    app.add_config_value("course_key", "", "env")
    app.add_config_value("course_style", "", "html")
    app.add_js_file(None, body=KEEP_ICONS, priority=50)
    os.environ["TQDM_DISABLE"] = "1"  # a page is no place for a progress bar
    app.connect("config-inited", serve_libraries_locally)
    app.connect("config-inited", key_the_cache)
    app.connect("env-before-read-docs", number_as_the_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def libraries_folder(source: Path) -> Path:
    """Where `tools/course.py` puts MathJax, require.js and the widget manager."""
    return Path(os.environ.get("COURSE_LIBRARIES") or source / "_build" / "libraries")


def serve_libraries_locally(app, config):
    """Point the pages at the libraries in the site, if they are there, else leave the usual CDN links."""
    folder = libraries_folder(Path(app.srcdir))
    if not (folder / "vendor" / "mathjax" / "tex-mml-chtml.js").is_file():
        logger.info(
            "course: no local libraries, pages load MathJax and widgets from a CDN"
        )
        return
    app.add_js_file(None, body=FIND_FONTS, priority=50)
    # Not under _static: Jupyter Book adds every script it finds there to every page.
    config.html_extra_path = [*config.html_extra_path, str(folder)]
    config.mathjax_path = "../vendor/mathjax/tex-mml-chtml.js"
    config.nb_ipywidgets_js = {
        "../vendor/widgets/require.js": {},
        "../vendor/widgets/embed-amd.js": {
            "data-jupyter-widgets-cdn": "",
            "crossorigin": "anonymous",
        },
    }


def course_key(source: Path) -> str:
    """Hash everything but the notebooks that a notebook's outputs depend on."""
    digest = hashlib.sha256()
    root = Path(os.environ.get("COURSE_ROOT") or source)
    found = [
        *root.glob("mini_ot/**/*.py"),
        *root.glob("exercises/**/*.py"),
        root / "requirements.txt",
    ]
    found += source.glob("book/data/**/*.*")
    for path in sorted(p for p in found if p.is_file() and p.suffix != ".pyc"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def key_the_cache(app, config):
    """Forget all executions when the package, the exercises, the data or the lock has changed.

    jupyter-cache looks at a notebook's own code only, so it would show yesterday's numbers.
    """
    config.course_key = course_key(Path(app.srcdir))
    style = sorted(Path(app.srcdir).glob("book/_static/*.*s"))
    contents = b"".join(p.read_bytes() for p in style)
    config.course_style = hashlib.sha256(contents).hexdigest()
    default = Path(app.outdir).parent / ".jupyter_cache"
    cache = Path(config.nb_execution_cache_path or default)
    stamp = cache / "course_key"
    known = stamp.read_text() if stamp.exists() else ""
    if cache.exists() and known != config.course_key:
        logger.info("course: package, exercises, data or lock changed: executing anew")
        shutil.rmtree(cache)
    cache.mkdir(parents=True, exist_ok=True)
    stamp.write_text(config.course_key)


def number_as_the_files(app, env, docnames):
    """Give each chapter the number of its file, also where chapters before it are still to be written."""
    from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

    count_up = Collector.assign_section_numbers
    if getattr(count_up, "by_file", False):
        return

    def assign_section_numbers(self, env):
        before = dict(env.toc_secnumbers)
        count_up(self, env)
        for page, numbers in env.toc_secnumbers.items():
            if found := re.search(r"(?:^|/)(\d\d)_[^/]*$", page):
                for anchor, number in numbers.items():
                    numbers[anchor] = number and (int(found[1]), *number[1:])
                for node in [env.titles[page], *env.tocs[page].findall()]:
                    if getattr(node, "attributes", {}).get("secnumber"):
                        node["secnumber"] = [int(found[1]), *node["secnumber"][1:]]
        return [page for page, n in env.toc_secnumbers.items() if n != before.get(page)]

    assign_section_numbers.by_file = True
    Collector.assign_section_numbers = assign_section_numbers
