"""The notebook tool: what it writes, strips and leaves alone."""

import json

import pytest
from mini_ot_exercises import engine

from tests.test_exercises import mean_exercise
from tools import notebooks


def notebook(*cells):
    return {
        "cells": list(cells),
        "metadata": {"kernelspec": {"name": "mine"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def code(source, tags=(), outputs=()):
    return {
        "cell_type": "code",
        "id": "x",
        "source": source,
        "metadata": {"tags": list(tags), "collapsed": True},
        "outputs": list(outputs),
        "execution_count": 9,
    }


def text(source):
    return {"cell_type": "markdown", "id": "y", "source": source, "metadata": {}}


PRINTED = {"output_type": "stream", "name": "stdout", "text": ["1.0\n"]}


def test_normalise_keeps_only_tables_of_record():
    record = ["nbval-check-output", "keep_output"]
    made = notebooks.normalised(
        notebook(
            code("a", outputs=[PRINTED]),
            text("# T"),
            code("b", record, [PRINTED]),
            code("c", record[:1], [PRINTED]),
        )
    )
    assert [c.get("outputs") for c in made["cells"]] == [[], None, [PRINTED], []]
    assert [c.get("execution_count") for c in made["cells"]] == [1, None, 2, 3]
    assert made["metadata"]["kernelspec"]["name"] == "python3"
    assert "collapsed" not in made["cells"][0]["metadata"]
    assert notebooks.normalised(json.loads(notebooks.dump(made))) == made


def test_exercises_are_written_once_and_renewed():
    start = notebook(text("# T"), text("## Exercises\n"), text("## Further reading"))
    once = notebooks.with_exercises(start, [mean_exercise()])
    again = notebooks.with_exercises(once, [mean_exercise()])
    assert again == once
    sources = ["".join(c["source"]) for c in once["cells"]]
    assert sources[0] == "# T"
    assert sources[-1] == "## Further reading"
    joined = "\n".join(sources)
    assert joined.count("```{exercise} 99.1 Mean") == 1
    assert 'mo.check("99.1", mean)' in joined
    assert joined.count("Hint 1 for 99.1") == joined.count("Hint 2 for 99.1") == 1
    assert joined.count("{solution} exercise-99-1") == 1


def test_no_place_for_exercises_is_an_error():
    with pytest.raises(SystemExit, match="## Exercises"):
        notebooks.with_exercises(notebook(text("# T")), [mean_exercise()])


def test_without_solutions_drops_them_and_nothing_else():
    full = notebooks.with_exercises(notebook(text("## Exercises")), [mean_exercise()])
    bare = notebooks.without_solutions(full)
    assert len(bare["cells"]) == len(full["cells"]) - 1
    assert "x.sum() / len(x)" not in notebooks.dump(bare)


def test_verify_fails_on_a_stale_notebook(tmp_path, monkeypatch, capsys):
    book = tmp_path / "book"
    book.mkdir()
    path = book / "99_test.ipynb"
    path.write_text(notebooks.dump(notebook(text("# T"), text("## Exercises"))), encoding="utf-8")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "chapters", lambda root=tmp_path: [path])
    monkeypatch.setattr(engine, "chapter", lambda number: [mean_exercise()] if number == "99" else [])
    assert notebooks.main(["verify"]) == 1
    assert notebooks.main(["sync"]) == 0
    assert notebooks.main(["verify"]) == 0
    path.write_text(path.read_text(encoding="utf-8").replace("The mean of", "The sum of"), encoding="utf-8")
    assert notebooks.main(["verify"]) == 1
    assert "stale: book" in capsys.readouterr().out
    assert notebooks.main(["nonsense"]) == 2
