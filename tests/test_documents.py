"""The documents at the top are true: the example runs, links lead somewhere, versions and pins agree."""

import json
import re
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml

import mini_ot as mo

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.jit
def test_the_readme_example_prints_what_it_says():
    code, printed = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", read("README.md"), re.DOTALL).groups()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    # The last digit may differ from machine to machine.
    pattern = re.compile(r"-?\d+\.\d+")
    assert pattern.sub("#", out.getvalue()) == pattern.sub("#", printed)
    for ours, theirs in zip(pattern.findall(out.getvalue()), pattern.findall(printed), strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=2e-4)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_within_the_repository(name):
    links = re.findall(r"\]\(([^)]+)\)", read(name))
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_commands_that_are_named_exist(name):
    text = read(name)
    paths = re.findall(r"`((?:book|mini_ot|exercises|tests|benchmarks|tools|binder)/[\w./]+)`", text)
    assert not [p for p in paths if "NN" not in p and not (ROOT / p).exists()]
    commands = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert commands <= set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def test_pictures_of_the_readme_have_alternative_text():
    assert all(len(alt.split()) >= 3 for alt in re.findall(r"!\[([^]]*)\]", read("README.md")))


def test_one_version_everywhere():
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert mo.__version__ == version == yaml.safe_load(read("CITATION.cff"))["version"]
    assert f"## {version}" in read("CHANGELOG.md")
    assert f"version {version}" in read("README.md")


def test_licences():
    assert read("LICENSE").startswith("BSD 3-Clause License")
    text = read("LICENSE-TEXT")
    assert "Attribution 4.0 International Public License" in text
    assert all(f"Section {i} -- " in text for i in range(1, 9))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_are_pinned_and_may_do_little(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert not [u for u in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", u)]
    tests = [step for step in steps if step.get("run", "").strip() == "make test"]
    assert len(tests) == 1
    assert tests[0]["env"] == {"REQUIRE_ALL": "1"}


def test_hooks_fetch_nothing():
    repos = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [r["repo"] for r in repos] == ["local"]
    assert {hook["language"] for hook in repos[0]["hooks"]} == {"system"}


def test_directives_are_seen_as_such():
    """A line of three backticks that holds more of them opens no fence: what follows would show as it is."""
    cells = [
        "".join(cell["source"])
        for path in (ROOT / "book").glob("*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "markdown"
    ]
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")]
    fences = re.findall(r"^ *`{3,}([^`\n].*)$", "\n".join(cells + pages), re.MULTILINE)
    assert len(fences) > 100
    assert [fence for fence in fences if "`" in fence] == []
