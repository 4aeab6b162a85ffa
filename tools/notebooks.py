"""Keep the book's notebooks in shape.

    python tools/notebooks.py sync             write the exercises into the notebooks and normalise these
    python tools/notebooks.py verify           fail if `sync` would change anything
    python tools/notebooks.py students FOLDER  copy what the book is built from, without the solutions

The exercises live in `exercises/chNN.py` and nowhere else; the cells in the notebooks are made from them.
"""

import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEEP = {"keep_output", "nbval-check-output"}
TABLE = re.compile(r"(<!-- exercises: begin -->\n).*?(<!-- exercises: end -->)", re.DOTALL)
SOLUTION = "solution"  # the tag of cells that the students' edition lacks


def chapters(root: Path = ROOT) -> list[Path]:
    return sorted((root / "book").glob("*.ipynb"))


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def dump(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def cell(kind: str, source: str, number: str, *tags: str) -> dict:
    made = {
        "cell_type": kind,
        "metadata": {"exercise": number, "tags": ["exercise", *tags]},
        "source": source.splitlines(keepends=True),
    }
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def exercise_cells(exercise) -> list[dict]:
    """Make the cells of one exercise: text, stub with its check, two hints, folded solution."""
    label = "exercise-" + exercise.number.replace(".", "-")
    where = "on paper, " if exercise.on_paper else ""
    title = f"{exercise.number} {exercise.title}: {where}{exercise.level}, {exercise.minutes} minutes"
    cells = [
        cell(
            "markdown",
            f"```{{exercise}} {title}\n:label: {label}\n:nonumber:\n\n{exercise.text}\n```",
            exercise.number,
        )
    ]
    if not exercise.on_paper:
        call = f'mo.check("{exercise.number}", {exercise.function.__name__})'
        cells.append(cell("code", f"{exercise.stub()}\n\n\n{call}", exercise.number))
    hints = "\n\n".join(
        f"```{{admonition}} Hint {i} for {exercise.number}\n:class: dropdown tip\n\n{hint}\n```"
        for i, hint in enumerate(exercise.hints, 1)
    )
    cells.append(cell("markdown", hints, exercise.number))
    parts = [exercise.answer] if exercise.answer else []
    if not exercise.on_paper:
        parts.append(f"```python\n{exercise.code()}\n```")
    body = "\n\n".join(parts)
    cells.append(
        cell(
            "markdown",
            f"````{{solution}} {label}\n:class: dropdown\n\n{body}\n````",
            exercise.number,
            SOLUTION,
        )
    )
    return cells


def with_exercises(notebook: dict, exercises: list) -> dict:
    """Return the notebook with its exercise cells made anew below the heading "## Exercises"."""
    cells = [c for c in notebook["cells"] if "exercise" not in c["metadata"]]
    heads = [i for i, c in enumerate(cells) if "".join(c["source"]).startswith("## Exercises")]
    if exercises and len(heads) != 1:
        raise SystemExit(
            f"a notebook with exercises needs one cell that starts with '## Exercises', found {len(heads)}"
        )
    if exercises:
        cells[heads[0] + 1 : heads[0] + 1] = [c for e in exercises for c in exercise_cells(e)]
    return notebook | {"cells": cells}


def normalised(notebook: dict) -> dict:
    """Return the notebook as it stands in git: no outputs but tables of record, counts 1..N."""
    count, cells = 0, []
    for i, c in enumerate(notebook["cells"]):
        tags = c["metadata"].get("tags", [])
        metadata = {k: v for k, v in c["metadata"].items() if k in {"tags", "mystnb", "exercise"} and v}
        source = "".join(c["source"]).rstrip("\n").splitlines(keepends=True)
        new = {"cell_type": c["cell_type"], "id": str(i), "metadata": metadata, "source": source}
        if c["cell_type"] == "code":
            count += 1
            outputs = c["outputs"] if set(tags) >= KEEP else []
            for output in outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
            new |= {"execution_count": count, "outputs": outputs}
        cells.append(new)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def without_solutions(notebook: dict) -> dict:
    """Return the notebook as students get it."""
    cells = [c for c in notebook["cells"] if SOLUTION not in c["metadata"].get("tags", [])]
    return notebook | {"cells": cells}


def exercise_table(exercises: list) -> str:
    """Make the teachers' table: what each exercise takes, and which mistakes its check names."""
    lines = ["| exercise | level | minutes | mistakes that the check names |", "|---|---|---|---|"]
    for e in exercises:
        named = "<br>".join(f"• {message}" for message, _ in e.mistakes).replace("|", "\\|") or "(on paper)"
        lines.append(f"| {e.number} {e.title} | {e.level} | {e.minutes} | {named} |")
    return "\n".join(lines) + "\n"


def expected() -> dict[Path, str]:
    """Return what every generated or normalised file should hold."""
    from mini_ot_exercises.engine import chapter

    files, all_exercises = {}, []
    for path in chapters():
        number = re.match(r"(\d\d)_", path.name)
        exercises = chapter(number[1]) if number else []
        all_exercises += exercises
        files[path] = dump(normalised(with_exercises(load(path), exercises)))
    teaching = ROOT / "book" / "teaching.md"
    if teaching.exists():
        files[teaching] = TABLE.sub(
            lambda m: m[1] + "\n" + exercise_table(all_exercises) + "\n" + m[2],
            teaching.read_text(encoding="utf-8"),
        )
    return files


def students(folder: Path) -> None:
    """Copy the book's sources without solutions, so that they are in neither the pages nor the downloads."""
    if folder.exists():
        shutil.rmtree(folder)
    ignore = shutil.ignore_patterns("__pycache__", ".*", "_templates")
    shutil.copytree(ROOT / "book", folder / "book", ignore=ignore)
    for name in ("_config.yml", "_toc.yml", "LICENSE", "LICENSE-TEXT"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    for path in chapters(folder):
        path.write_text(dump(normalised(without_solutions(load(path)))), encoding="utf-8")
    teaching = folder / "book" / "teaching.md"
    if teaching.exists():
        note = "\n(The table of exercises and their planted mistakes is in the teachers' edition.)\n\n"
        text = TABLE.sub(lambda m: m[1] + note + m[2], teaching.read_text(encoding="utf-8"))
        teaching.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    match arguments:
        case ["sync" | "verify" as verb]:
            stale = {p: text for p, text in expected().items() if p.read_text(encoding="utf-8") != text}
            for path, text in stale.items():
                if verb == "sync":
                    path.write_text(text, encoding="utf-8")
                print(f"{'written' if verb == 'sync' else 'stale'}: {path.relative_to(ROOT)}")
            if stale and verb == "verify":
                print("Run: python tools/notebooks.py sync")
            return int(bool(stale) and verb == "verify")
        case ["students", folder]:
            students(Path(folder))
            return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
