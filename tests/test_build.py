"""The build: a stale execution cache is noticed, warnings are errors, libraries come from the site."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.environment import ROOT

CONFIG = """
title: t
only_build_toc_files: true
exclude_patterns: [_build, mini_ot]
execute: {execute_notebooks: cache}
sphinx: {local_extensions: {course_build: book/_ext}}
"""
NOTEBOOK = '{"cells": [{"cell_type": "code", "id": "0", "execution_count": null, "metadata": {}, "outputs": [], "source": ["%s"]}], "metadata": {"kernelspec": {"name": "python3", "display_name": "p"}}, "nbformat": 4, "nbformat_minor": 5}'  # noqa: E501


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A tiny book with a package of its own, built with the course's extension."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "book").mkdir()
    shutil.copytree(
        ROOT / "book" / "_ext", root / "book" / "_ext", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "mini_ot").mkdir()
    (root / "mini_ot" / "value.py").write_text("VALUE = 111\n")
    (root / "_config.yml").write_text(CONFIG)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    source = "exec(open('../mini_ot/value.py').read()); print('the value is', VALUE)"
    (root / "book" / "page.ipynb").write_text(NOTEBOOK % source)
    return root


def build(book: Path, **env):
    program = Path(sys.executable).with_name("jupyter-book")
    env = {k: v for k, v in os.environ.items() if not k.startswith("COURSE_")} | env
    command = [str(program), "build", str(book), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    page = book / "_build" / "html" / "book" / "page.html"
    return done, page.read_text(encoding="utf-8") if page.exists() else ""


def test_a_changed_package_is_executed_again(book):
    done, page = build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the value is 111" in page
    done, page = build(book)
    assert "Executing notebook" not in done.stdout + done.stderr  # nothing changed: nothing runs
    (book / "mini_ot" / "value.py").write_text("VALUE = 222\n")
    done, page = build(book)
    assert "the value is 222" in page
    assert "111" not in page.split("the value is")[1][:10]


def test_warnings_and_failing_cells_fail_the_build(book):
    path = book / "book" / "page.ipynb"
    before = path.read_text()
    for broken in ("1 / 0", "import no_such_module"):
        path.write_text(NOTEBOOK % broken)
        assert build(book)[0].returncode != 0
    path.write_text(before)
    assert build(book)[0].returncode == 0


def test_without_local_libraries_the_pages_use_a_cdn(book):
    page = build(book)[1]
    assert "mathjax" not in page.lower() or "https://" in page
    libraries = book / "libraries"
    (libraries / "vendor" / "mathjax").mkdir(parents=True)
    (libraries / "vendor" / "mathjax" / "tex-mml-chtml.js").write_text("// MathJax")
    path = book / "book" / "page.ipynb"
    text = path.read_text().replace(
        '"cells": [',
        '"cells": [{"cell_type": "markdown", "id": "m", "metadata": {}, "source": ["# T\\n\\n$$x^2$$"]}, ',
    )
    path.write_text(text)
    assert "cdn.jsdelivr.net/npm/mathjax" in build(book)[1]
    page = build(book, COURSE_LIBRARIES=str(libraries))[1]
    assert "vendor/mathjax/tex-mml-chtml.js" in page
    assert "cdn.jsdelivr.net" not in page
    assert (book / "_build" / "html" / "vendor" / "mathjax" / "tex-mml-chtml.js").exists()


def extension():
    spec = importlib.util.spec_from_file_location("course_build", ROOT / "book" / "_ext" / "course_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("mini_ot/a.py", True),
        ("mini_ot/deep/b.py", True),
        ("exercises/ch01.py", True),
        ("book/data/x.csv", True),
        ("requirements.txt", True),
        ("README.md", False),
        ("book/page.md", False),
    ],
)
def test_what_the_cache_depends_on(tmp_path, monkeypatch, file, counts):
    monkeypatch.delenv("COURSE_ROOT", raising=False)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")
    key = extension().course_key
    before = key(tmp_path)
    path.write_text("2")
    assert (key(tmp_path) != before) == counts


def test_cache_is_dropped_with_its_key(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_ROOT", raising=False)
    module = extension()
    (tmp_path / "requirements.txt").write_text("a")
    config = SimpleNamespace(nb_execution_cache_path="", course_key="")
    app = SimpleNamespace(srcdir=str(tmp_path), outdir=str(tmp_path / "_build" / "html"))
    module.key_the_cache(app, config)
    old = tmp_path / "_build" / ".jupyter_cache" / "old"
    old.write_text("an execution")
    module.key_the_cache(app, config)
    assert old.exists()
    (tmp_path / "requirements.txt").write_text("b")
    module.key_the_cache(app, config)
    assert not old.exists()
