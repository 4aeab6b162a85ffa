"""Exercises: solutions pass, stubs are not attempted, each planted mistake is caught with its own message.

The second half proves that these tests bite: a faulty exercise makes them fail.
"""

import json
import re

import numpy as np
import pytest
from mini_ot_exercises import engine
from mini_ot_exercises.engine import Exercise

import mini_ot as mo
from tools import notebooks

CHAPTERS = sorted({p.name[:2] for p in notebooks.chapters() if re.match(r"\d\d_", p.name)})
EXERCISES = [e for number in CHAPTERS for e in engine.chapter(number)]
CODE = [e for e in EXERCISES if not e.on_paper]


def by_number(e):
    return e.number


def run_stub(exercise):
    """Define the stub as a student's notebook does, and return it."""
    names = {"np": np, "mo": mo}
    exec(exercise.stub(), names)
    return names[exercise.function.__name__]


def complaints(exercise):
    """Everything that is wrong with an exercise: its own test, so that it can be tried on faulty ones."""
    found = []
    if exercise.on_paper:
        return [] if len(exercise.answer) > 40 else ["no written answer"]
    if exercise.diagnose(exercise.function) is not None:
        found.append("the solution does not pass")
    names = {"np": np, "mo": mo}
    exec(exercise.code(), names)
    if exercise.diagnose(names[exercise.function.__name__]) is not None:
        found.append("the solution as printed does not pass")
    if len(exercise.mistakes) < 3:
        found.append(f"only {len(exercise.mistakes)} planted mistakes")
    if len({message for message, _ in exercise.mistakes}) < len(exercise.mistakes):
        found.append("two mistakes share a message")
    for message, wrong in exercise.mistakes:
        got = exercise.diagnose(wrong)
        if got is None:
            found.append(f"the mistake {wrong.__name__} passes")
        elif got != message:
            found.append(f"the mistake {wrong.__name__} is called: {got}")
    body = exercise.code()[len(exercise.stub().rsplit("\n", 1)[0]) :]
    lines = [line.strip() for line in body.splitlines() if len(line.strip()) > 15]
    for text in [exercise.stub(), exercise.text, *[m for m, _ in exercise.mistakes]]:
        found += [f"the line {line!r} of the solution is given away" for line in lines if line in text]
    return found


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_number)
def test_exercise_is_sound(exercise):
    assert complaints(exercise) == []


@pytest.mark.parametrize("exercise", CODE, ids=by_number)
def test_stub_is_not_attempted(exercise):
    result = mo.check(exercise.number, run_stub(exercise))
    assert not result
    assert "not attempted" in result.message


@pytest.mark.parametrize("exercise", CODE, ids=by_number)
def test_student_sees_verdict_and_hints(exercise):
    engine._failures.clear()
    _, wrong = exercise.mistakes[0]
    first, second = mo.check(exercise.number, wrong), mo.check(exercise.number, wrong)
    assert exercise.hints[0] in repr(first)
    assert exercise.hints[1] in repr(second)
    right = mo.check(exercise.number, exercise.function)
    assert right
    assert repr(right) == f"Exercise {exercise.number}: correct."


@pytest.mark.parametrize("number", CHAPTERS)
def test_each_chapter_has_a_fair_set(number):
    found = engine.chapter(number)
    assert 3 <= len(found) <= 6
    assert sum(not e.on_paper for e in found) >= 2
    assert any(e.on_paper for e in found)
    assert {e.level for e in found} == set(engine.LEVELS)
    assert [e.number for e in found] == [f"{int(number)}.{i + 1}" for i in range(len(found))]


def test_notebooks_hold_the_exercises_as_written():
    stale = [p.name for p, text in notebooks.expected().items() if p.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python tools/notebooks.py sync"


def test_students_edition_has_no_solution(tmp_path):
    notebooks.students(tmp_path / "students")
    text = "".join(
        p.read_text(encoding="utf-8")
        for p in (tmp_path / "students").rglob("*")
        if p.suffix in {".ipynb", ".md"}
    )
    assert not list((tmp_path / "students").rglob(".*"))
    assert "{exercise}" in text
    assert "{solution}" not in text
    for exercise in EXERCISES:
        assert json.dumps(exercise.answer)[1:60] not in text
    for exercise in CODE:
        last = exercise.code().splitlines()[-1].strip()
        assert json.dumps(last)[1:-1] not in text
        for message, _ in exercise.mistakes:
            assert message not in text


# ---- a small exercise of the tests' own, and what happens when it is faulty ----


def mean_exercise():
    ex = Exercise(
        "99.1",
        "Mean",
        level="core",
        minutes=5,
        text="The mean of `x`.",
        hints=("Add them up.", "Then divide."),
    )

    @ex.solution
    def mean(x):
        """Return the mean."""
        return x.sum() / len(x)

    @ex.cases
    def _(rng):
        yield (rng.standard_normal(5),)
        yield (rng.standard_normal(8),)

    @ex.mistake("That is the sum.")
    def _sum(x):
        return x.sum()

    @ex.mistake("You divide by n - 1.")
    def _unbiased(x):
        return x.sum() / (len(x) - 1)

    @ex.mistake("That is the median.")
    def _median(x):
        return np.median(x)

    return ex


def test_the_small_exercise_is_sound():
    assert complaints(mean_exercise()) == []


def test_a_mistake_is_known_however_it_is_written():
    ex = mean_exercise()
    assert ex.diagnose(lambda x: float(np.mean(x)) * len(x)) == "That is the sum."
    assert ex.diagnose(lambda x: np.cumsum(x)[-1]) == "That is the sum."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3.0, "Pass the function itself"),
        (lambda x: None, "return statement"),
        (lambda x: np.nan, "NaN or infinity"),
        (lambda x: x, r"shape \(5,\), expected \(\)"),
        (lambda x: -x.mean(), "wrong sign"),
        (lambda x: 3 * x.mean(), "constant factor"),
        (lambda x: "words", "returns str"),
        (lambda x: 7.0, "values are wrong"),
        (lambda x: 1 / 0, "stopped with ZeroDivisionError"),
        (lambda x, y: x, "stopped with TypeError"),
        (lambda x: x.sort() or x.mean(), "changes its arguments"),
    ],
)
def test_other_wrong_answers_get_something_true(answer, words):
    assert re.search(words, mean_exercise().diagnose(answer))


def test_faults_in_an_exercise_are_found():
    ex = mean_exercise()
    ex.mistake("That is right.")(lambda x: x.mean())
    assert any("passes" in c for c in complaints(ex))
    ex = mean_exercise()
    ex.mistakes.append(("Another name for the sum.", ex.mistakes[0][1]))
    assert any("is called" in c for c in complaints(ex))
    ex = mean_exercise()
    del ex.mistakes[0]
    assert "only 2 planted mistakes" in complaints(ex)
    ex = mean_exercise()
    ex.text += " Write `return x.sum() / len(x)`."
    assert any("given away" in c for c in complaints(ex))
    ex = mean_exercise()
    ex.function = ex.mistakes[0][1]
    assert any("mistake _sum passes" in c for c in complaints(ex))


def test_judge_for_answers_that_are_not_unique():
    ex = mean_exercise()
    ex.judge(lambda f: None if f(np.ones(2)) > 0 else "Not positive.")
    assert ex.diagnose(lambda x: 5.0) is None
    assert ex.diagnose(lambda x: -5.0) == "Not positive."


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.check("99.1", len), ValueError, "number must be one of"),
        (lambda: mo.check("spam", len), ValueError, "number must be one of"),
        (lambda: mo.check(1.2, len), TypeError, "number must be a text"),
        (lambda: Exercise("1.1", "", level="easy", minutes=1, text="", hints=("", "")), ValueError, "level"),
        (lambda: Exercise("1.1", "", level="core", minutes=1, text="", hints=("",)), ValueError, "hints"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_paper_exercises_cannot_be_checked():
    paper = next(e for e in EXERCISES if e.on_paper)
    with pytest.raises(ValueError, match="done on paper"):
        mo.check(paper.number, len)
