"""Exercises that check themselves: ``mo.check("1.2", my_function)``.

An exercise is written once, in the package ``mini_ot_exercises`` (folder ``exercises/``, one file per
chapter): its text, two hints, the solution, the cases to try it on, and the mistakes that students really
make, each as a working function with the message that names the misconception::

    ex = Exercise("1.2", "Leave one out", level="core", minutes=15, text=r'''...''', hints=("...", "..."))

    @ex.solution
    def loo(x, h): ...          # shown folded on the page; its signature and docstring make the stub

    @ex.cases
    def _(rng):                 # yields tuples of arguments
        yield rng.normal(size=20), 0.3

    @ex.mistake("You kept the point itself ...")
    def _keeps_itself(x, h): ...

The check runs the student's function on the cases and compares with the solution.  When they differ it looks
for the planted mistake that gives the student's answers, however the student wrote it, and says what that
mistake means.  Nothing printed reveals the solution.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module

import numpy as np

LEVELS = ("warm-up", "core", "challenge")
_failures: Counter = Counter()


class Exercise:
    """One exercise, in one place.  Without a solution function it is done on paper.

    Parameters
    ----------
    number : str
        Chapter and place in it, such as "1.2".
    title : str
    level : {"warm-up", "core", "challenge"}
    minutes : int
    text : str
        The task, in MyST Markdown.
    hints : pair of str
        First a nudge, then nearly the way.
    answer : str
        Worked solution in MyST Markdown: the whole of it for a paper exercise, remarks beside the code else.
    rtol : float
        Relative difference up to which two answers are the same.
    """

    def __init__(
        self, number, title, *, level, minutes, text, hints, answer="", rtol=1e-6
    ):
        if level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, got {level!r}")
        if len(hints) != 2:
            raise ValueError(f"hints must be a pair, got {len(hints)}")
        self.number, self.title, self.level, self.minutes = (
            number,
            title,
            level,
            minutes,
        )
        self.text, self.answer = (
            textwrap.dedent(text).strip(),
            textwrap.dedent(answer).strip(),
        )
        self.hints, self.rtol = tuple(" ".join(h.split()) for h in hints), rtol
        self.mistakes: list[tuple[str, Callable]] = []
        self.function: Callable | None = None
        self._cases = self._judge = None

    def solution(self, function):
        """Mark the function that solves the exercise."""
        self.function = function
        return function

    def cases(self, generate):
        """Mark the function ``rng -> iterable of argument tuples`` to try answers on."""
        self._cases = generate
        return generate

    def judge(self, function):
        """Mark a function ``candidate -> message or None``, for exercises with more than one right answer."""
        self._judge = function
        return function

    def mistake(self, message):
        """Plant a mistake: a function that makes it, and the message that names the misconception."""

        def keep(function):
            self.mistakes.append((" ".join(message.split()), function))
            return function

        return keep

    @property
    def on_paper(self) -> bool:
        return self.function is None

    def code(self) -> str:
        """Return the solution's source as the page shows it."""
        source = textwrap.dedent(inspect.getsource(self.function))
        return "\n".join(source.rstrip().splitlines()[_definition(source).lineno - 1 :])

    def stub(self) -> str:
        """Return what the student starts from: the solution's signature and docstring, no body."""
        source = self.code()
        definition = _definition(source)
        documented = isinstance(definition.body[0], ast.Expr)
        last = (
            definition.body[0].end_lineno
            if documented
            else definition.body[0].lineno - 1
        )
        head = "\n".join(source.splitlines()[:last])
        return f'{head}\n    raise NotImplementedError("exercise {self.number}")'

    def diagnose(self, candidate) -> str | None:
        """Return what is wrong with a student's function, or None if it is right."""
        if not callable(candidate):
            call = f"mo.check({self.number!r}, {self.function.__name__})"
            return f"Pass the function itself, without calling it: {call}."
        if self._judge is not None:
            try:
                return self._judge(candidate)
            except Exception as error:
                return _raised(error, "with the check's own arguments")
        outcomes = []
        for arguments in self._cases(np.random.default_rng(0)):
            given = deepcopy(arguments)
            try:
                got = candidate(*given)
            except Exception as error:
                return _raised(
                    error, "for arguments " + ", ".join(_short(a) for a in arguments)
                )
            if not _same(given, arguments, 0):
                return "Your function changes its arguments in place: work on copies of them."
            outcomes.append((arguments, got, self.function(*deepcopy(arguments))))
        if all(_same(got, right, self.rtol) for _, got, right in outcomes):
            return None
        for message, wrong in self.mistakes:
            if all(
                _same(got, wrong(*deepcopy(arguments)), self.rtol)
                for arguments, got, _ in outcomes
            ):
                return message
        return _generic(outcomes, self.rtol)


class CheckResult:
    """What :func:`check` found: ``passed`` and the message."""

    def __init__(self, passed: bool, message: str):
        self.passed, self.message = passed, message

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.message


def check(number: str, answer: Callable) -> CheckResult:
    """Check your answer to a code exercise of the book.

    Parameters
    ----------
    number : str
        The exercise's number, such as "1.2".
    answer : callable
        Your function, not its value.

    Returns
    -------
    CheckResult
        Shown as text: correct, not attempted yet, or what is wrong, with a hint (the second hint from the
        second wrong try on).  True in an ``if`` when correct.

    Raises
    ------
    ValueError
        If there is no such exercise, or it is done on paper.
    """
    exercise = find(number)
    if exercise.on_paper:
        raise ValueError(
            f"number must name a code exercise, got {number!r}, which is done on paper"
        )
    try:
        message = exercise.diagnose(answer)
    except _NotAttempted:
        return CheckResult(False, f"Exercise {number}: not attempted yet.")
    if message is None:
        _failures.pop(number, None)
        return CheckResult(True, f"Exercise {number}: correct.")
    hint = exercise.hints[min(_failures[number], 1)]
    _failures[number] += 1
    return CheckResult(False, f"Exercise {number}: not yet. {message}\nHint: {hint}")


def find(number: str) -> Exercise:
    """Return the exercise with this number."""
    if not isinstance(number, str):
        raise TypeError(
            f"number must be a text such as '1.2', got {type(number).__name__} {number!r}"
        )
    found = {e.number: e for e in chapter(number.partition(".")[0])}
    if number not in found:
        raise ValueError(
            f"number must be one of {', '.join(found) or 'no exercise of that chapter'}, got {number!r}"
        )
    return found[number]


def chapter(number: str) -> list[Exercise]:
    """Return the exercises of a chapter in order (none if it has no file)."""
    name = (
        f"mini_ot_exercises.ch{int(number):02d}"
        if str(number).isdigit()
        else "mini_ot_exercises.?"
    )
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return []
    found = [e for e in vars(module).values() if isinstance(e, Exercise)]
    return sorted(
        {id(e): e for e in found}.values(), key=lambda e: int(e.number.split(".")[1])
    )


class _NotAttempted(Exception):
    """The stub was run as it stands."""


def _raised(error, where) -> str:
    if isinstance(error, NotImplementedError):
        raise _NotAttempted from None
    return f"Your function stopped with {type(error).__name__}: {error} ({where})."


def _definition(source):
    return next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    )


def _short(value) -> str:
    return f"array{value.shape}" if isinstance(value, np.ndarray) else repr(value)[:40]


def _same(a, b, rtol) -> bool:
    """Whether two answers agree: numbers, arrays, or tuples and lists of them."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        both = (
            isinstance(a, (tuple, list))
            and isinstance(b, (tuple, list))
            and len(a) == len(b)
        )
        return both and all(_same(p, q, rtol) for p, q in zip(a, b, strict=True))
    try:
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    except (TypeError, ValueError):
        return type(a) is type(b) and a is b  # a function among the arguments
    if a.shape != b.shape:
        return False
    scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
    return bool(np.allclose(a, b, rtol=rtol, atol=rtol * scale, equal_nan=True))


def _generic(outcomes, rtol) -> str:
    """Say something true and useful about an answer that matches no planted mistake."""
    arguments, got, right = next(o for o in outcomes if not _same(o[1], o[2], rtol))
    where = "for arguments " + ", ".join(_short(a) for a in arguments)
    if got is None:
        return "Your function returns nothing: is the return statement missing?"
    try:
        got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    except (TypeError, ValueError):
        return f"Your function returns {type(got).__name__}, expected {type(right).__name__} {where}."
    if got.shape != right.shape:
        return (
            f"Your function returns shape {got.shape}, expected {right.shape} {where}."
        )
    if not np.isfinite(got).all() and np.isfinite(right).all():
        return f"Your function returns NaN or infinity {where}."
    ratios = [
        np.asarray(g, dtype=float) / np.where(np.asarray(r) == 0, np.nan, r)
        for _, g, r in outcomes
    ]
    ratio = np.concatenate([np.ravel(r) for r in ratios])
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) and np.allclose(ratio, -1, rtol=rtol):
        return "Every value has the wrong sign."
    if len(ratio) > 1 and np.allclose(ratio, ratio[0], rtol=1e-6):
        return (
            "Your values are proportional to the right ones: a constant factor is off."
        )
    return f"The values are wrong {where}: try a case so small that you can work it out by hand."
