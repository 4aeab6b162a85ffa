"""The notebook tests are no empty show: nbval compares the tables of record, and sees what was changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "--nbval-lax",
    "--nbval-current-env",
    "--nbval-cell-timeout=300",
    f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}",
]
RECORD = ["nbval-check-output", "keep_output"]
RIGHT = "mean   1.50\ntime 3 s\n"


def notebook(stored, count=1):
    """Make a notebook of one table of record whose stored text is `stored` (None: stripped)."""
    cell = {
        "cell_type": "code",
        "execution_count": count,
        "id": "0",
        "metadata": {"tags": RECORD},
        "outputs": [{"output_type": "stream", "name": "stdout", "text": [stored]}] if stored else [],
        "source": ["print('mean   1.50')\nprint('time 7 s')"],
    }
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": [cell], "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


def nbval(path, folder):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FLAGS, str(path)]
    # The outer run's options are not this run's.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("stored", "count", "passes"),
    [
        (RIGHT, 1, True),
        (RIGHT.replace("1.50", "1.51"), 1, False),
        (None, 1, False),
        (RIGHT, None, False),
    ],
    ids=["right", "tampered", "stripped", "count lost"],
)
def test_nbval_compares_the_table_of_record(tmp_path, stored, count, passes):
    path = tmp_path / "tiny.ipynb"
    path.write_text(json.dumps(notebook(stored, count)))
    done = nbval(path, tmp_path)
    assert done.returncode == (0 if passes else 1), done.stdout + done.stderr
    assert "1 passed" in done.stdout if passes else "1 failed" in done.stdout


def test_the_project_runs_with_these_flags():
    """Keep what is proved here and what `make test` runs the same."""
    import inspect

    from tools import commands

    run = inspect.getsource(commands.stage_notebooks)
    missing = [flag for flag in FLAGS if flag.replace(f"{ROOT}{os.sep}", "").replace(os.sep, "/") not in run]
    assert not missing


def test_the_hole_that_the_style_test_closes(tmp_path):
    """Without count and outputs nbval passes whatever is printed, so test_style.py must forbid that."""
    from tests.style_rules import outputs

    path = tmp_path / "tiny.ipynb"
    lost = notebook(None, None)
    path.write_text(json.dumps(lost))
    assert nbval(path, tmp_path).returncode == 0
    assert outputs(lost)
