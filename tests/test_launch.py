"""What Binder would do with the repository, asked of repo2docker; tools/check_binder.py really does it."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from tools import check_binder
from tools.environment import ROOT

pytest.importorskip("repo2docker")
BINDER = ROOT / "binder"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.fixture
def repository(tmp_path):
    """Return the part of a clone that buildpacks look at."""
    shutil.copytree(BINDER, tmp_path / "binder")
    for name in ("pyproject.toml", "requirements.txt", "package.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_plan(repository):
    plan = check_binder.build_plan(repository)
    assert plan["buildpack"] == "PythonBuildPack"
    assert plan["python"] == "3.11"
    assert len(plan["assemble"]) == 1
    assert re.search(r'pip install .*-r "binder/requirements.txt"$', plan["assemble"][0])
    assert plan["post build"] == ["binder/postBuild"]


def test_requirements_follow_the_lock():
    written = (BINDER / "requirements.txt").read_text(encoding="utf-8")
    assert written == check_binder.slim_requirements(), "run: python tools/check_binder.py --lock"


def test_requirements_are_slim_and_enough():
    text = (BINDER / "requirements.txt").read_text(encoding="utf-8")
    slim, lock = check_binder.pins(text), check_binder.pins((ROOT / "requirements.txt").read_text())
    assert "-e ." in text.splitlines()  # the package and the exercises
    assert set(check_binder.WANTED) <= set(slim)
    assert slim.items() <= lock.items()
    assert not {"sphinx", "jupyter-book", "pytest", "playwright"} & set(slim)


def test_markers_are_those_of_binder():
    text = "a==1 ; python_full_version < '3.12'\na==2 ; python_full_version >= '3.12'\nb==3 ; os_name == 'nt'"
    assert check_binder.pins(text) == {"a": "1"}


def test_runtime_is_a_python_of_the_project():
    assert (BINDER / "runtime.txt").read_text().strip() == "python-3.11"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bit")
def test_post_build_is_executable():
    assert os.access(BINDER / "postBuild", os.X_OK)
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-s", "binder/postBuild"], capture_output=True, text=True
    )
    assert listed.returncode or listed.stdout.startswith("100755")


def test_buttons_are_configured():
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", CONFIG["repository"]["url"])
    assert CONFIG["repository"]["path_to_book"] == ""  # page names hold "book/" already
    launch = CONFIG["launch_buttons"]
    assert launch["notebook_interface"] == "jupyterlab"
    assert launch["binderhub_url"] == "https://mybinder.org"
    assert launch["colab_url"] == "https://colab.research.google.com"


def test_check_says_why_it_cannot_run(monkeypatch, capsys):
    monkeypatch.setattr(check_binder, "find_chromium", lambda: None)
    assert check_binder.main([]) == 77
    assert capsys.readouterr().out == "Binder check skipped: no Chromium found\n"


def test_a_script_that_hangs_is_ended():
    with pytest.raises(check_binder.Wrong, match="more than 1 s"):
        check_binder.run(["sleep", "60"], timeout=1)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo wrong; exit 3", check_binder.Wrong),
        ("echo 'Temporary failure in name resolution'; exit 1", check_binder.Impossible),
    ],
)
def test_a_failed_install_is_told_from_no_network(script, kind):
    with pytest.raises(kind):
        check_binder.run(["bash", "-c", script], timeout=20)
