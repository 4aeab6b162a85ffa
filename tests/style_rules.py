"""The rules of style that every notebook and page of the book keeps.

Each rule is a function from a notebook (a dict as in the file) or from a page's Markdown to a list of
complaints, empty where all is well.  `test_style.py` applies them, and plants a fault for each.
"""

import ast
import re

RECORD = {"nbval-check-output", "keep_output"}  # the two tags of a table of record
MAX_LINES = 25
SECTIONS = ["When it fails", "Summary", "Exercises", "Further reading", "Next"]

# What takes an `ax=` argument and makes its own figure without it.
PANELS = {"scatter", "density", "map_grid"}
# What of pyplot does not draw.
QUIET = {"rcParams", "style", "close", "get_cmap", "cycler", "rc", "rc_context"}


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def code_cells(notebook: dict):
    """Yield (place, cell) for each code cell; the place is for people to read."""
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            first = source(cell).strip().partition("\n")[0][:50]
            yield f"cell {i} ({first!r})", cell


def parse(cell: dict) -> ast.Module:
    """Parse a code cell; lines of IPython's own (%, !) become blank, and so does what is not Python."""
    lines = ["" if re.match(r"\s*[%!]", line) else line for line in source(cell).split("\n")]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def dotted(node: ast.AST) -> str:
    """Return 'mo.plot.scatter' for such an expression, '' for one that is not names and dots."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def is_empty(value: ast.expr | None) -> bool:
    """Tell whether an argument is missing, None or an empty text."""
    if isinstance(value, ast.Constant):
        return value.value is None or not str(value.value).strip()
    return value is None


# --- notebooks ------------------------------------------------------------------------------------------


def skeleton(notebook: dict) -> list[str]:
    """Check that a chapter has its parts, in order."""
    cells = notebook["cells"]
    opening = source(cells[0]) if cells and cells[0]["cell_type"] == "markdown" else ""
    found = []
    if not re.match(r"# \S", opening):
        found.append("the first cell must start with '# Title'")
    if "In this chapter you will" not in opening:
        found.append("the opening lacks 'In this chapter you will'")
    else:
        verbs = re.findall(r"^[-*] ", opening.split("In this chapter you will")[1], re.MULTILINE)
        if not 3 <= len(verbs) <= 5:
            found.append(f"'In this chapter you will' needs a list of 3 to 5 items, has {len(verbs)}")
    for word in ("**Needs**", "**Minutes**"):
        if word not in opening:
            found.append(f"the opening lacks {word}")
    if not re.search(r"\*\*Minutes\*\*\D{0,20}\d", opening):
        found.append("**Minutes** must name a number")
    heads, first_code = [], None
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code" and first_code is None:
            first_code = i
            if heads:
                found.append("the cell of imports must come before the first section")
            if "import mini_ot as mo" not in source(cell):
                found.append("the first code cell must be the imports, with 'import mini_ot as mo'")
        elif cell["cell_type"] == "markdown":
            heads += re.findall(r"^## +(.+?)\s*$", prose(source(cell)), re.MULTILINE)
    if first_code is None:
        found.append("there is no code")
    for name in SECTIONS:
        if heads.count(name) != 1:
            found.append(f"'## {name}' must stand once, stands {heads.count(name)} times")
    order = [name for name in heads if name in SECTIONS]
    if sorted(order) == sorted(SECTIONS) and order != SECTIONS:
        found.append(f"sections must come in the order {SECTIONS}, come as {order}")
    if heads and heads[0] in SECTIONS:
        found.append(f"there is no section before '## {heads[0]}'")
    return found


def short_cells(notebook: dict) -> list[str]:
    found = []
    for place, cell in code_cells(notebook):
        lines = source(cell).rstrip("\n").count("\n") + 1
        if lines > MAX_LINES:
            found.append(f"{place} has {lines} lines, more than {MAX_LINES}")
    return found


def _opens_figure(call: ast.Call) -> bool:
    name = dotted(call.func)
    head, _, last = name.rpartition(".")
    if head in {"plt", "matplotlib.pyplot"}:
        return last not in QUIET
    if head.startswith(("plt.", "matplotlib.")):
        return False
    return head == "mo.plot" and last in PANELS and keyword(call, "ax") is None


def _functions(tree: ast.AST):
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))]


def draws(notebook: dict) -> list[tuple[str, dict]]:
    """Return the code cells that show a still figure, also by calling its own function that does."""
    painters, found = set(), []
    for place, cell in code_cells(notebook):
        tree = parse(cell)
        inside = {id(n) for f in _functions(tree) for n in ast.walk(f) if n is not f}
        for function in _functions(tree):
            if isinstance(function, ast.FunctionDef) and any(_opens_figure(c) for c in calls(function)):
                painters.add(function.name)
        outside = [c for c in calls(tree) if id(c) not in inside]
        if any(_opens_figure(c) or dotted(c.func) in painters for c in outside):
            found.append((place, cell))
    return found


def alt_text(notebook: dict) -> list[str]:
    """Check that every figure says in words what it shows."""
    found = []
    for place, cell in draws(notebook):
        mystnb = cell["metadata"].get("mystnb", {})
        alt = mystnb.get("image", {}).get("alt", "") or mystnb.get("figure", {}).get("alt", "")
        if len(alt.split()) < 5:
            found.append(f"{place} draws: its metadata need mystnb.image.alt, in five words or more")
    for place, cell in code_cells(notebook):
        for call in calls(parse(cell)):
            if dotted(call.func) == "mo.plot.slider" and is_empty(keyword(call, "alt")):
                found.append(f"{place}: mo.plot.slider needs alt=")
    return found


def seeded(notebook: dict) -> list[str]:
    """Check that the same numbers come out each time."""
    found = []
    for place, cell in code_cells(notebook):
        tree = parse(cell)
        for node in ast.walk(tree):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            if "random" in imported:
                found.append(f"{place}: the module random; use np.random.default_rng(SEED)")
        for call in calls(tree):
            name = dotted(call.func)
            seed = call.args[0] if call.args else keyword(call, "seed")
            if name.split(".")[-1] == "default_rng" and is_empty(seed):
                found.append(f"{place}: default_rng without a seed")
            elif re.fullmatch(r"(np|numpy)\.random\.[a-z_]+", name) and not name.endswith("default_rng"):
                found.append(f"{place}: {name} has a hidden state; use np.random.default_rng(SEED)")
            elif name.endswith("RandomState"):
                found.append(f"{place}: RandomState is the old generator; use np.random.default_rng(SEED)")
            rng = keyword(call, "rng")
            if isinstance(rng, ast.Constant) and rng.value is None:
                found.append(f"{place}: rng=None")
    return found


def plain_code(notebook: dict) -> list[str]:
    """Check that cells install nothing, hide no warning, fetch nothing and say what they import."""
    found = []
    for place, cell in code_cells(notebook):
        if re.search(r"^\s*(!|%\s*(pip|conda)|%%|.*=\s*!)", source(cell), re.MULTILINE):
            found.append(f"{place}: no shell command, %pip or cell magic in a notebook")
        elif not parse(cell).body and source(cell).strip():
            found.append(f"{place} is not Python, or empty")
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
                found.append(f"{place}: star import of {node.module}")
            if isinstance(node, (ast.Attribute, ast.Name)):
                last = dotted(node).split(".")[-1]
                if last in {"filterwarnings", "simplefilter", "catch_warnings"}:
                    found.append(f"{place}: {last}; mend the cause of the warning")
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.search(r"\b(https?|ftp)://", text):
                found.append(f"{place}: an address in code; the book runs without a network")
    return found


def outputs(notebook: dict) -> list[str]:
    """Check that only tables of record are stored, and that nbval can compare them."""
    found = []
    for place, cell in code_cells(notebook):
        kinds = tags(cell) & RECORD
        if kinds != RECORD:
            if cell["outputs"]:
                found.append(f"{place} has stored output; only tables of record keep theirs")
            if kinds:
                found.append(
                    f"{place} has the tag {min(kinds)} alone; a table of record has both of {RECORD}"
                )
            continue
        # nbval compares nothing where the count is null, and passes: see test_notebook_tests.py.
        if not cell["execution_count"]:
            found.append(f"{place} is a table of record without an execution count")
        texts = [
            "".join(o.get("text", o.get("data", {}).get("text/plain", "")))
            for o in cell["outputs"]
            if o["output_type"] in {"stream", "execute_result", "display_data"}
        ]
        if not "".join(texts).strip():
            found.append(f"{place} is a table of record without a stored text")
        if any(o["output_type"] == "error" or o.get("name") == "stderr" for o in cell["outputs"]):
            found.append(f"{place} stores an error or warning")
    return found


def has_record(notebook: dict) -> list[str]:
    """Check that a chapter has a table of record."""
    records = [cell for _, cell in code_cells(notebook) if tags(cell) >= RECORD]
    return [] if records else [f"no cell has the tags {sorted(RECORD)}: the chapter needs a table of record"]


def uses_package(notebook: dict) -> list[str]:
    code = [source(cell) for _, cell in code_cells(notebook)]
    ok = not code or any(re.search(r"^import mini_ot as mo$", text, re.MULTILINE) for text in code)
    return [] if ok else ["no cell says 'import mini_ot as mo'"]


def kernel(notebook: dict) -> list[str]:
    """Check that the notebook opens everywhere, and does not change with who saved it."""
    found, metadata = [], notebook["metadata"]
    if metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernelspec must be python3")
    if "version" in metadata.get("language_info", {}):
        found.append("language_info must not name a version")
    counts = [cell["execution_count"] for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"execution counts must be 1..{len(counts)}, are {counts}")
    return found


# --- Markdown, in notebooks and pages --------------------------------------------------------------------


def prose(text: str) -> str:
    """Drop comments and quoted code, which the page shows as letters; directives such as {figure} stay."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    kept, fence = [], None
    for line in text.split("\n"):
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
        if fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = None
        elif not fence and mark and re.match(r"(?!\{)|\{(code|code-block|literalinclude)\}", mark[2].strip()):
            # A line of closing backticks of a directive has no name either; it opens nothing.
            fence = mark[1] if mark[2].strip() else None
        elif not fence:
            kept.append(line)
    return re.sub(r"(`+)[^`\n].*?\1", "", "\n".join(kept))


def links(text: str) -> list[str]:
    """Check that the page loads nothing from outside (a link to go to is fine)."""
    found = []
    text = prose(text)
    outside = r"[\"'(\s]*(?:https?:)?//"
    elements = "img|script|iframe|embed|video|audio|source|object"
    patterns = {
        "an image": rf"!\[[^\]]*\]\({outside}",
        "a {figure} or {image}": rf"\{{(?:figure|image)\}}\s*{outside}",
        "an element": rf"<(?:{elements})\b[^>]*\b(?:src|data)\s*=\s*{outside}",
        "a style sheet or font": rf"<link\b[^>]*\bhref\s*=\s*{outside}|@import\s+{outside}|url\(\s*{outside}",
        "a frame": rf"\{{iframe\}}\s*{outside}",
    }
    for what, pattern in patterns.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            rest = text[match.start() : match.start() + 80].split("\n")[0]
            found.append(f"{what} from outside: {rest}")
    return found


def image_alts(text: str) -> list[str]:
    """Check that pictures in Markdown have alternative text."""
    found = []
    text = prose(text)
    for match in re.finditer(r"!\[\s*\]\(([^)]*)\)", text):
        found.append(f"image {match[1]} has no alternative text")
    for match in re.finditer(r"<img\b[^>]*>", text, re.IGNORECASE):
        if not re.search(r"\balt\s*=\s*[\"'][^\"']*\w", match[0]):
            found.append(f"{match[0][:60]} has no alt")
    for match in re.finditer(r"\{(figure|image)\}\s*(\S+)\n((?:\s*:.*\n?)*)", text):
        if not re.search(r":alt:\s*\S", match[3]):
            found.append(f"{{{match[1]}}} {match[2]} has no :alt:")
    return found


def in_markdown(rule):
    """Make a rule for notebooks of a rule for Markdown."""

    def rule_for_notebooks(notebook):
        return [
            f"cell {i}: {complaint}"
            for i, cell in enumerate(notebook["cells"])
            if cell["cell_type"] == "markdown"
            for complaint in rule(source(cell))
        ]

    rule_for_notebooks.__name__ = rule.__name__
    return rule_for_notebooks


PAGE_RULES = [links, image_alts]
NOTEBOOK_RULES = [
    short_cells,
    alt_text,
    seeded,
    plain_code,
    outputs,
    uses_package,
    kernel,
    *map(in_markdown, PAGE_RULES),
]
CHAPTER_RULES = [skeleton, has_record, *NOTEBOOK_RULES]
