"""The book keeps its rules of style, and each rule sees the fault that it is there for."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import style_rules as rules
from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted([*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book" / "_templates").glob("*.ipynb")])
PAGES = sorted((ROOT / "book").glob("*.md"))
is_chapter = re.compile(r"\d\d_.*\.ipynb|chapter\.ipynb").fullmatch  # the template counts as one


def name(path):
    return path.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks(path):
    notebook = notebooks.load(path)
    wanted = rules.CHAPTER_RULES if is_chapter(path.name) else rules.NOTEBOOK_RULES
    assert not [f"{rule.__name__}: {c}" for rule in wanted for c in rule(notebook)]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages(path):
    text = path.read_text(encoding="utf-8")
    assert not [f"{rule.__name__}: {c}" for rule in rules.PAGE_RULES for c in rule(text)]


def test_stripped():
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-count", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


# --- each rule sees its fault ---------------------------------------------------------------------------


def good_chapter():
    """Make a chapter, as short as can be, that keeps all rules."""
    opening = (
        "# A chapter\n\nIn this chapter you will\n\n- see,\n- try,\n- break.\n\n"
        "**Needs**: nothing. **Minutes**: 5 for reading."
    )
    ending = "\n\n".join(f"## {section}\n\nText." for section in rules.SECTIONS)
    cells = [
        opening,
        ("import matplotlib.pyplot as plt\nimport numpy as np\n\nimport mini_ot as mo",),
        "## An idea\n\n![A line](line.png) and [a link](https://example.org).",
        ("rng = np.random.default_rng(0)\nx = mo.Banana().sample(9, rng=rng)\nmean = x.mean()",),
        (
            "fig, ax = plt.subplots()\nax.plot(x)",
            {"mystnb": {"image": {"alt": "A line that goes up and down"}}},
        ),
        (
            "def draw(ax, s):\n    mo.plot.scatter(s * x, ax=ax)\n\n\n"
            "mo.plot.slider(draw, [1, 2], label='s', alt='Points')",
        ),
        (
            "print(1.0)",
            {"tags": sorted(rules.RECORD)},
            [{"output_type": "stream", "name": "stdout", "text": ["1.0\n"]}],
        ),
        ending,
    ]
    made, count = [], 0
    for i, cell in enumerate(cells):
        if isinstance(cell, str):
            made.append({"cell_type": "markdown", "id": str(i), "metadata": {}, "source": [cell]})
            continue
        text, metadata, outputs = (*cell, {}, [])[:3] if len(cell) == 1 else (*cell, [])[:3]
        count += 1
        made.append(
            {
                "cell_type": "code",
                "id": str(i),
                "metadata": copy.deepcopy(metadata),
                "source": text.splitlines(keepends=True),
                "outputs": outputs,
                "execution_count": count,
            }
        )
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def complaints(notebook):
    return {rule.__name__ for rule in rules.CHAPTER_RULES if rule(notebook)}


def test_a_good_chapter_passes():
    assert complaints(good_chapter()) == set()


OPENING, IMPORTS, IDEA, SAMPLE, FIGURE, SLIDER, RECORD, ENDING = range(8)


def text(cell, old, new):
    """Return the fault that replaces some text of one cell."""

    def plant(notebook):
        source = rules.source(notebook["cells"][cell])
        assert old in source
        notebook["cells"][cell]["source"] = [source.replace(old, new)]

    return plant


def more(cell, extra):
    def plant(notebook):
        notebook["cells"][cell]["source"].append("\n" + extra)

    return plant


def field(cell, key, value):
    def plant(notebook):
        notebook["cells"][cell][key] = value

    return plant


def meta(key, value):
    def plant(notebook):
        notebook["metadata"][key] = value

    return plant


FAULTS = {
    "no title": ("skeleton", text(OPENING, "# A", "A")),
    "no aims": ("skeleton", text(OPENING, "In this chapter you will", "You will")),
    "two aims": ("skeleton", text(OPENING, "- try,\n", "")),
    "no needs": ("skeleton", text(OPENING, "**Needs**", "Needs")),
    "no minutes": ("skeleton", text(OPENING, "**Minutes**: 5", "**Minutes**: some")),
    "no failure": ("skeleton", text(ENDING, "## When it fails", "### When it fails")),
    "no next": ("skeleton", text(ENDING, "## Next", "Next")),
    "two summaries": ("skeleton", text(ENDING, "## Next", "## Summary\n\n## Next")),
    "wrong order": (
        "skeleton",
        text(ENDING, "## Summary\n\nText.\n\n## Exercises", "## Exercises\n\n## Summary"),
    ),
    "no section": ("skeleton", text(IDEA, "## An idea", "An idea")),
    "imports elsewhere": ("skeleton", text(OPENING, "**Needs**", "## Early\n\n**Needs**")),
    "not imported": ("uses_package", text(IMPORTS, "import mini_ot as mo", "")),
    "long cell": ("short_cells", more(SAMPLE, "y = 1\n" * 23)),
    "no alt": ("alt_text", field(FIGURE, "metadata", {})),
    "alt of one word": ("alt_text", field(FIGURE, "metadata", {"mystnb": {"image": {"alt": "Plot"}}})),
    "no alt on a panel": ("alt_text", more(SAMPLE, "mo.plot.scatter(x)")),
    "no alt on pyplot": ("alt_text", more(SAMPLE, "plt.hist(x)")),
    "no alt in a function": ("alt_text", more(SAMPLE, "def f():\n    plt.subplots()\n\n\nf()")),
    "slider without alt": ("alt_text", text(SLIDER, ", alt='Points'", "")),
    "slider with empty alt": ("alt_text", text(SLIDER, "alt='Points'", "alt=' '")),
    "no seed": ("seeded", text(SAMPLE, "default_rng(0)", "default_rng()")),
    "seed None": ("seeded", text(SAMPLE, "default_rng(0)", "default_rng(seed=None)")),
    "legacy random": ("seeded", more(SAMPLE, "z = np.random.randn(3)")),
    "legacy seed": ("seeded", more(SAMPLE, "np.random.seed(3)")),
    "old generator": ("seeded", more(SAMPLE, "r = np.random.RandomState(1)")),
    "module random": ("seeded", more(IMPORTS, "import random")),
    "from random": ("seeded", more(IMPORTS, "from random import gauss")),
    "rng=None": ("seeded", text(SAMPLE, "rng=rng", "rng=None")),
    "!pip": ("plain_code", more(IMPORTS, "!pip install x")),
    "%pip": ("plain_code", more(IMPORTS, "%pip install x")),
    "%%bash": ("plain_code", text(IMPORTS, "import matplotlib", "%%bash\nimport matplotlib")),
    "captured shell": ("plain_code", more(SAMPLE, "files = !ls")),
    "warnings off": ("plain_code", more(IMPORTS, "import warnings\nwarnings.filterwarnings('ignore')")),
    "warnings off by name": (
        "plain_code",
        more(IMPORTS, "from warnings import simplefilter\nsimplefilter('ignore')"),
    ),
    "star import": ("plain_code", more(IMPORTS, "from numpy import *")),
    "address in code": ("plain_code", more(SAMPLE, "t = np.loadtxt('https://example.org/t.csv')")),
    "not Python": ("plain_code", text(SAMPLE, "rng = ", "rng = = ")),
    "stored output": ("outputs", field(SAMPLE, "outputs", [{"output_type": "stream", "text": "1"}])),
    "record of one tag": ("outputs", field(RECORD, "metadata", {"tags": ["keep_output"]})),
    "record not run": ("outputs", field(RECORD, "execution_count", None)),
    "record stripped": ("outputs", field(RECORD, "outputs", [])),
    "record that is blank": (
        "outputs",
        field(RECORD, "outputs", [{"output_type": "stream", "name": "stdout", "text": [" \n"]}]),
    ),
    "record of a warning": (
        "outputs",
        field(RECORD, "outputs", [{"output_type": "stream", "name": "stderr", "text": ["x"]}]),
    ),
    "no record": ("has_record", field(RECORD, "metadata", {"tags": []})),
    "own kernel": ("kernel", meta("kernelspec", {"name": "my-env"})),
    "version": ("kernel", meta("language_info", {"name": "python", "version": "3.11.7"})),
    "counts of a session": ("kernel", field(SAMPLE, "execution_count", 17)),
    "outside image": ("links", text(IDEA, "(line.png)", "(https://example.org/line.png)")),
    "image without protocol": ("links", text(IDEA, "(line.png)", "(//example.org/line.png)")),
    "outside script": ("links", more(IDEA, '<script async src="https://example.org/x.js"></script>')),
    "outside img": ("links", more(IDEA, '<img alt="x" src=http://example.org/x.png>')),
    "outside figure": ("links", more(IDEA, "```{figure} https://example.org/x.png\n:alt: x\n```")),
    "outside style": ("links", more(IDEA, '<link rel="stylesheet" href="https://example.org/x.css">')),
    "no image alt": ("image_alts", text(IDEA, "![A line]", "![]")),
    "no img alt": ("image_alts", more(IDEA, '<img src="x.png">')),
    "empty img alt": ("image_alts", more(IDEA, '<img src="x.png" alt="">')),
    "no figure alt": ("image_alts", more(IDEA, "```{figure} x.png\n:width: 50%\n\nA caption\n```")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_seen(fault):
    rule, plant = FAULTS[fault]
    notebook = good_chapter()
    plant(notebook)
    assert rule in complaints(notebook)


def test_every_rule_has_a_fault():
    assert {rule for rule, _ in FAULTS.values()} == {rule.__name__ for rule in rules.CHAPTER_RULES}


@pytest.mark.parametrize(
    "harmless",
    [
        "<!-- ![](https://example.org/x.png) -->",
        "```html\n<script src='https://example.org/x.js'></script>\n```",
        "Write `![](x.png)` for a picture.",
        "```{figure} x.png\n:width: 50%\n:alt: A cloud\n\nA caption\n```",
        "See <https://example.org> or [there](https://example.org).",
        "```{note}\nText\n```\n\n```python\n## Next\n```",
    ],
)
def test_harmless_markdown_passes(harmless):
    notebook = good_chapter()
    more(IDEA, harmless)(notebook)
    assert complaints(notebook) == set()


# --- the repository -------------------------------------------------------------------------------------


def tracked():
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, timeout=60)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / p for p in done.stdout.decode().split("\0") if p and (ROOT / p).is_file()]


# A home or scratch folder of somebody's machine, on Linux, macOS or Windows.
MACHINE_PATH = re.compile(r"(?<![\w.}/])/(?:home|root|Users|work|tmp|var/folders)/\w|\b[A-Z]:\\+Users\\")


def test_no_machine_paths():
    found = []
    for path in tracked():
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(content.split("\n"), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found


@pytest.mark.parametrize("line", ["open('/ho" + "me/ann/x')", "at /Us" + "ers/ann", "C:\\Us" + "ers\\ann"])
def test_machine_paths_are_seen(line):
    assert MACHINE_PATH.search(line)


def test_what_is_made_is_not_committed():
    made = re.compile(r"(^|/)(_build|node_modules|\.venv|__pycache__|\.ipynb_checkpoints)/|\.(pyc|nbi|nbc)$")
    assert not [p for p in tracked() if made.search(p.relative_to(ROOT).as_posix())]


def test_lock_of_browser_assets_names_no_host():
    lock = ROOT / "package-lock.json"
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    assert not [p for p, entry in packages.items() if "resolved" in entry]


@pytest.mark.parametrize("path", sorted((ROOT / "mini_ot").glob("*.py")), ids=name)
def test_package_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def toc_files():
    toc = ROOT / "_toc.yml"

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in {"file", "root"}:
                    yield value
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def test_table_of_contents():
    files = toc_files()
    assert len(files) == len(set(files))
    missing = [f for f in files if not any((ROOT / (f + end)).exists() for end in (".ipynb", ".md", ""))]
    assert not missing
    chapters = [p.relative_to(ROOT).with_suffix("").as_posix() for p in NOTEBOOKS if p.name[:2].isdigit()]
    assert [f for f in files if re.search(r"/\d\d_", f)] == chapters  # all of them, in order
