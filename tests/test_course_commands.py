"""The commands: what they say when something is missing, taken or broken; no network needed."""

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tools import commands, environment

ROOT = environment.ROOT


def run(*command, **more):
    env = {**os.environ, **more.pop("env", {})}
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=300, env=env, **more
    )


def test_an_old_python_says_so(tmp_path):
    """Pretend to be Python 3.8: the file must run that far, and no newer Python is on the PATH."""
    code = "import sys, runpy; sys.version_info = (3, 8, 1); sys.argv = ['course.py', 'book']; "
    code += "runpy.run_path('tools/course.py', run_name='__main__')"
    done = run(sys.executable, "-c", code, cwd=ROOT, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; this is Python 3.8" in done.stderr


def test_an_old_python_hands_over_to_a_newer_one(tmp_path):
    newer = tmp_path / "python3.12"
    newer.write_text(f'#!/bin/sh\necho "handed over $@"\n')  # noqa: F541
    newer.chmod(0o755)
    code = "import sys, runpy; sys.version_info = (3, 9, 1); sys.argv = ['course.py', 'book']; "
    code += "runpy.run_path('tools/course.py', run_name='__main__')"
    path = f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = run(sys.executable, "-c", code, cwd=ROOT, env={"PATH": path})
    assert done.stdout.strip() == "handed over tools/course.py book"


def test_the_launcher_is_readable_by_old_pythons():
    """No f-string, walrus, match or annotation in the file that an old Python must read."""
    import ast

    tree = ast.parse((ROOT / "tools" / "course.py").read_text(encoding="utf-8"), feature_version=(3, 5))
    modern = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.Match)
    assert not [node for node in ast.walk(tree) if isinstance(node, modern)]


def test_a_taken_port_is_passed_over_or_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(environment.Failure, match=f"Port {port} is taken"):
            commands.make_server(ROOT, port)
        done = run(sys.executable, "tools/course.py", "book", "--port", port, cwd=ROOT)
        assert done.returncode == 1
        assert (
            done.stderr.strip()
            == f"Port {port} is taken or not allowed: choose another with --port, or leave it out."
        )
    with pytest.raises(environment.Failure, match="Port 99999 is taken or not allowed"):
        commands.make_server(ROOT, 99999)


def test_the_next_free_port_is_used_and_said(monkeypatch, capsys):
    monkeypatch.setattr(commands, "port_is_taken", lambda port: port < 8003)
    monkeypatch.setattr(commands, "Server", lambda address, handler: address)
    assert commands.make_server(ROOT, None) == ("127.0.0.1", 8003)
    assert "Port 8000 is taken, using 8003" in capsys.readouterr().out


def test_the_server_serves(tmp_path):
    (tmp_path / "index.html").write_text("hello")
    server = commands.make_server(tmp_path, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/") as answer:
        assert answer.read() == b"hello"
    server.shutdown()
    server.server_close()


def test_serving_nothing_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    with pytest.raises(environment.Failure, match="run make book first"):
        commands.serve(tmp_path / "html", None, False)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A course without environment, whose commands write nowhere else."""
    for name in ("requirements.txt", "pyproject.toml", "package.json", "package-lock.json", ".npmrc"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(environment, "LOGS", tmp_path / "_build" / "log")
    monkeypatch.setattr(environment, "LIBRARIES", tmp_path / "_build" / "libraries")
    return tmp_path


def fake(name: str, folder: Path, says: str, status: int) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "{says}"\nexit {status}\n')
    program.chmod(0o755)


def test_no_network_is_named(bare, monkeypatch):
    fake("uv", bare, "error: Failed to fetch: dns error", 2)
    monkeypatch.setenv("PATH", str(bare), prepend=os.pathsep)
    (bare / ".venv" / "bin").mkdir(parents=True)
    fake("python", bare / ".venv" / "bin", "", 0)
    with pytest.raises(environment.Failure, match="is there a network connection") as failure:
        environment.ensure_environment()
    assert "Last" not in str(failure.value) or "dns error" in str(failure.value)
    assert not (bare / ".venv" / "course-stamp").exists()


def test_no_network_for_real(bare):
    """A real pip that can reach no index; the message is ours and there is no traceback."""
    (bare / "requirements.txt").write_text("six==1.16.0\n")
    blocked = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    blocked |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_EXTRA_INDEX_URL": ""}
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from tools import environment as e; bare = Path(sys.argv[2])\n"
        "e.ROOT, e.VENV, e.LOGS, e.shutil.which = bare, bare / '.venv', bare, lambda name: None\n"
        "try: e.ensure_environment()\nexcept e.Failure as f: print(f)"
    )
    done = run(sys.executable, "-c", code, ROOT, bare, env=blocked)
    assert "is there a network connection" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_no_venv_module_is_named(bare, monkeypatch):
    fake("python3", bare, "Error: ensurepip is not available", 1)
    monkeypatch.setattr(environment.sys, "executable", str(bare / "python3"))
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    with pytest.raises(environment.Failure, match="apt install python3-venv"):
        environment.ensure_environment()


def test_an_environment_of_this_lock_is_reused(bare, monkeypatch):
    folder = bare / ".venv" / "bin"
    folder.mkdir(parents=True)
    fake("python", folder, "", 0)
    wanted = environment.fingerprint(bare / "requirements.txt", bare / "pyproject.toml")
    (bare / ".venv" / "course-stamp").write_text(wanted)

    def never(*arguments, **options):
        raise AssertionError("nothing should run")

    monkeypatch.setattr(environment, "run_quietly", never)
    environment.ensure_environment()
    (bare / "requirements.txt").write_text("numpy==0.0\n")
    with pytest.raises(AssertionError, match="nothing should run"):
        environment.ensure_environment()


def test_without_node_the_build_says_so_in_one_line(bare, monkeypatch, capsys):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.ensure_libraries() is False
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    assert "Node is missing" in lines[0]
    assert "CDN" in lines[0]


def test_npm_without_network_falls_back(bare, monkeypatch, capsys):
    fake("npm", bare, "npm error code ENOTFOUND", 1)
    monkeypatch.setattr(environment.shutil, "which", lambda name: str(bare / name))
    assert environment.ensure_libraries() is False
    assert "no network" in capsys.readouterr().out


def test_a_failing_command_shows_its_last_words(bare):
    with pytest.raises(environment.Failure, match=r"stopped with status 3(.|\n)*the reason"):
        environment.run_quietly([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], "try")


def test_wrong_edition_and_stage():
    with pytest.raises(environment.Failure, match="EDITION must be 'teachers' or 'students', got 'pupils'"):
        commands.build("pupils")
    with pytest.raises(environment.Failure, match="no stage spam; the stages are style, unit"):
        commands.test(["spam"])


def test_summary_counts_what_was_skipped(monkeypatch, capsys):
    done = commands.Stage("pages")
    done.ok, done.passed, done.skipped = True, 3, ["no Chromium"] * 2
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    assert commands.summary([done]) == 0
    out = capsys.readouterr().out
    assert "skipped 2: no Chromium" in out
    assert out.strip().endswith("3 passed, 0 failed, 2 skipped")
    monkeypatch.setenv("REQUIRE_ALL", "1")
    assert commands.summary([done]) == 1
    done.skipped, done.ok = [], False
    assert commands.summary([done]) == 1


def test_ci_runs_the_readme_command_and_allows_no_skips():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in script
    assert "REQUIRE_ALL=1" in script
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
