"""Every page of the built book: complete, offline, light, readable by everybody."""

import re
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import yaml

from tests.pages import site

# Pages are listed while tests are collected; where there is no site, one name stands for all that is skipped.
PAGES = site.pages() or ["no site"]
NOTEBOOKS = site.notebook_pages() or ["no site"]

# What third-party scripts say in the console and cannot be cured here.
HARMLESS = [
    "Got invalid theme mode",  # the theme, on a reader's first visit
    "THEBE_JS_URL",  # the theme's button for live code, which we do not use, declares it twice
    "reading 'Queue'",  # the widget manager looks for MathJax 2
]
MB = 1e6
LIMIT, LIMIT_MOVING = 2 * MB, 6 * MB


def harmful(errors):
    return [e for e in errors if not any(h in e for h in HARMLESS)]


@pytest.fixture(scope="session")
def look(browser, base):
    """Return a function that gives what is known of a page after one visit in that theme.

    The light one is on a desktop throughout, the dark one ends on a phone.
    """

    @cache
    def look(path, theme="light"):
        with site.visit(browser, base, path, theme=theme) as visit:
            seen = deepcopy(replace(visit, page=None))  # as it is now: axe asks for more files
            seen.facts, seen.page_address = visit.page.evaluate(FACTS), visit.page.url
            seen.violations = violations(visit.page)
            if theme == "dark":
                visit.page.set_viewport_size(site.PHONE)
                site.settle(visit.page)
                seen.overflow = visit.page.evaluate(OVERFLOW)
        return seen

    return look


FACTS = r"""() => {
  const words = document.querySelector('main, article, body').cloneNode(true);
  words.querySelectorAll('pre, code, script, style, mjx-container, .jupyter-widgets')
    .forEach(e => e.remove());
  return {
    title: document.title,
    lang: document.documentElement.lang,
    theme: document.documentElement.dataset.theme,
    background: getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number),
    noAlt: [...document.images].filter(i => !i.alt.trim()).map(i => i.outerHTML.slice(0, 200)),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth && i.checkVisibility())
      .map(i => i.outerHTML.slice(0, 200)),
    formulas: document.querySelectorAll('.math').length,
    bare: [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container'))
      .map(m => m.textContent.slice(0, 80)),
    mathErrors: [...document.querySelectorAll('mjx-merror')].map(m => m.textContent.slice(0, 80)),
    words: words.textContent,
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  };
}"""


@pytest.mark.parametrize("path", PAGES)
def test_loads_nothing_from_outside(look, path):
    assert look(path).outside == []


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_missing(look, path):
    assert look(path).missing == []


@pytest.mark.parametrize("path", PAGES)
def test_console_is_quiet(look, path):
    assert harmful(look(path).errors) == []


@pytest.mark.parametrize("path", PAGES)
def test_pictures_have_alternative_text(look, path):
    facts = look(path).facts
    assert facts["noAlt"] == [] and facts["broken"] == []


@pytest.mark.parametrize("path", PAGES)
def test_formulas_are_set(look, path):
    facts = look(path).facts
    assert facts["bare"] == [] and facts["mathErrors"] == []
    # TeX or a role that was left as it is in the source.
    raw = r"\$\$|\\\(|\\\[|\\begin\{|\{(?:prf:\w+|cite:?\w*|eq|ref|numref|doc|term)\}"
    assert re.findall(rf".{{0,40}}(?:{raw}).{{0,40}}", facts["words"]) == []


def test_the_root_leads_to_the_introduction(look):
    assert look("index.html").page_address.endswith("/book/intro.html")


@pytest.mark.parametrize("path", site.chapters() or ["no site"])
def test_some_formulas_were_seen(look, path):
    assert look(path).facts["formulas"] > 20


@pytest.mark.parametrize("path", PAGES)
def test_links_within_the_book_lead_somewhere(look, base, path):
    lost = []
    for link in look(path).facts["links"]:
        place = link.partition("#")[0]
        if place.startswith(base + "/"):
            file = site.SITE / place[len(base) + 1 :].partition("?")[0]
            if not (file.is_file() or (file / "index.html").is_file()):
                lost.append(link)
    assert lost == []


@pytest.mark.parametrize("path", PAGES)
def test_weight(look, path, record_property):
    seen, moves = look(path), site.moves(path)
    sent, heaviest = sum(seen.bytes.values()), seen.bytes.most_common(5)
    word = "yes" if moves else ""
    line = f"{path:44} {sent / MB:8.2f} {seen.unpacked / MB:10.2f} {len(seen.bytes):6}  {word}"
    record_property("weight", line)  # the summary prints them all
    assert sent < (LIMIT_MOVING if moves else LIMIT), f"{heaviest}"


# --- phone, dark, everybody -----------------------------------------------------------------------------

OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = e => { for (; e && e !== document.body; e = e.parentElement)
    if (getComputedStyle(e).overflowX !== 'visible') return true; return false; };
  const wide = [...document.body.querySelectorAll('*')].filter(
    e => e.getBoundingClientRect().right > width + 1 && e.checkVisibility() && !scrolls(e));
  return [document.documentElement.scrollWidth - width, wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120))];
}"""


@pytest.mark.parametrize("path", site.chapters() or ["no site"])
def test_chapter_is_numbered_as_its_file(path, base):
    """Exercises and cross-references speak of chapter 10, also while chapters before it are to be written."""
    heading = re.search(r"<h1><span class=\"section-number\">(\d+)", site.text(path))
    assert int(heading[1]) == int(path.rpartition("/")[2][:2])
    own = re.findall(r"caption-number\">Theorem (\d+)\.(\d+)", site.text(path))  # others may be spoken of
    assert own == [(heading[1], str(k)) for k in range(1, len(own) + 1)]


def test_theorems_were_found():
    assert sum('caption-number">Theorem ' in site.text(path) for path in site.chapters()) > 12


@pytest.mark.parametrize("path", PAGES)
def test_fits_a_phone(look, path):
    over, wide = look(path, "dark").overflow
    assert over <= 0, wide


# A chapter has thousands of coloured words of code in some twenty classes, and axe would measure the contrast
# of each: three quarters of its time.  Two of each class stay; the others become plain words of their line.
THIN = """() => {
  const seen = {};
  for (const e of document.querySelectorAll('pre span[class]')) {
    if (e.children.length || e.id) continue;
    seen[e.className] = (seen[e.className] || 0) + 1;
    if (seen[e.className] > 2) e.replaceWith(e.textContent);
  }
}"""


def violations(page):
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(THIN)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{v['impact']} {v['id']}: {v['help']}: {[n['html'][:140] for n in v['nodes'][:4]]}"
        for v in found
        if v["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_accessible(look, path, theme):
    assert look(path, theme).facts["theme"] == theme
    assert look(path, theme).violations == []


@pytest.mark.parametrize("path", PAGES[:1])
def test_dark_is_dark(look, path):
    """So that the test above looks at two things, not twice at one."""
    light, dark = (sum(look(path, theme).facts["background"]) for theme in ("light", "dark"))
    assert light > 600 and dark < 200


# --- launch buttons -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_launch_buttons(look, path):
    config = yaml.safe_load((site.ROOT / "_config.yml").read_text(encoding="utf-8"))
    url, branch = config["repository"]["url"].rstrip("/"), config["repository"]["branch"]
    slug = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", url)[1]
    notebook = path.replace(".html", ".ipynb")
    launch = [h for h in look(path).facts["links"] if re.search(r"mybinder|colab", h)]
    assert sorted(set(launch)) == [
        f"https://colab.research.google.com/github/{slug}/blob/{branch}/{notebook}",
        f"https://mybinder.org/v2/gh/{slug}/{branch}?urlpath=lab/tree/{notebook}",
    ]


# --- the two editions -----------------------------------------------------------------------------------


def test_students_edition_has_no_solutions():
    """Neither the pages nor the notebooks that one can download from them may hold any."""
    folder = site.ROOT / "_build" / "students" / "_build" / "html"
    if not folder.exists():
        pytest.skip("the students' edition is not built: run 'EDITION=students make build'")
    for page in site.chapters():
        html = (folder / page).read_text(encoding="utf-8")
        source = (folder / "_sources" / page).with_suffix(".ipynb").read_text(encoding="utf-8")
        assert 'class="exercise' in html and 'class="solution' not in html
        assert "{exercise}" in source and "{solution}" not in source
        # The words are those that pages with solutions have.
        assert 'class="solution' in site.text(page)
