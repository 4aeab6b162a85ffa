"""What a reader can do on the page without a kernel: move pictures, open hints and solutions."""

from pathlib import Path

import pytest

from tests.pages import site

MOVING = [p for p in site.pages() if site.moves(p)] or ["no site"]
CHAPTERS = site.chapters() or ["no site"]


def wait_for_other_picture(page, number, old):
    """Wait until the moving picture shows another frame than `old`, and return that."""
    page.wait_for_function(
        """([moving, number, old]) => {
          const box = document.querySelectorAll(moving)[number];
          const shown = [...box.querySelectorAll('img.mo-frame')].find(i => i.checkVisibility());
          return shown && shown.complete && shown.naturalWidth > 0 && shown.src !== old;
        }""",
        arg=[site.MOVING, number, old],
    )
    return site.picture(page, number)[2].get_attribute("src")


def check_slider(page, number):
    """Move a slider by keyboard; its picture must follow, to both ends."""
    _, handle, frame = site.picture(page, number)
    frame.scroll_into_view_if_needed()
    first, pixels = frame.get_attribute("src"), frame.screenshot()
    last = int(float(handle.get_attribute("aria-valuemax")))
    there = int(float(handle.get_attribute("aria-valuenow")))
    handle.focus()
    page.keyboard.press("ArrowRight" if there < last else "ArrowLeft")
    shown = wait_for_other_picture(page, number, first)
    assert site.picture(page, number)[2].screenshot() != pixels
    for key, end in (("End", last), ("Home", 0)):
        if int(float(handle.get_attribute("aria-valuenow"))) != end:
            page.keyboard.press(key)
            shown = wait_for_other_picture(page, number, shown)
    assert site.picture(page, number)[2].get_attribute("alt").strip()


@pytest.mark.parametrize("path", MOVING)
def test_slider_moves_the_picture(open_page, path):
    seen = open_page(path)
    pictures = seen.page.locator(site.MOVING).count()
    assert pictures
    for number in range(pictures):
        check_slider(seen.page, number)
    assert seen.outside == []


def test_intro_and_every_chapter_move():
    assert {"book/intro.html", *site.chapters()} <= set(MOVING)


def test_play_button(open_page):
    page = open_page("book/intro.html").page
    box, _, frame = site.picture(page)
    old = frame.get_attribute("src")
    box.locator(".widget-play button").first.click()
    for _ in range(3):
        old = wait_for_other_picture(page, 0, old)


@pytest.mark.parametrize("path", CHAPTERS)
def test_hints_and_solutions_fold(open_page, path):
    page = open_page(path).page
    folded = page.locator(".admonition.dropdown")
    exercises = page.locator(".exercise.admonition").count()
    assert exercises >= 3
    assert page.locator(".solution.dropdown").count() in {0, exercises}  # none in the students' edition
    assert folded.count() >= 2 * exercises
    for i in range(folded.count()):
        box = folded.nth(i)
        inside = box.locator("> :not(.admonition-title)").first
        button = box.locator("button.toggle-button").first
        assert not inside.is_visible()
        button.click()
        inside.wait_for(state="visible")
        assert button.get_attribute("aria-expanded") == "true"
        button.focus()
        page.keyboard.press("Enter")
        inside.wait_for(state="hidden")


@pytest.mark.parametrize("path", [p for p in site.pages() if "<details" in site.text(p)] or ["no site"])
def test_hidden_code_opens(open_page, path):
    page = open_page(path).page
    for details in page.locator("main details").all():
        was = details.evaluate("d => d.open")
        details.locator("summary").first.click()
        assert details.evaluate("d => d.open") != was


# --- the judge sees what it should see ------------------------------------------------------------------

PLANTS = {
    "script": '<script src="https://example.org/x.js"></script>',
    "image": '<img alt="x" src="http://example.org/x.png">',
    "style": '<link rel="stylesheet" href="https://example.org/x.css">',
    "background": "<style>body {background: url(https://example.org/x.png)}</style>",
    "frame": '<iframe title="x" src="https://example.org/"></iframe>',
    "fetch": "<script>fetch('https://example.org/x.json').catch(() => 0)</script>",
    "other port": '<script src="http://127.0.0.1:9/x.js"></script>',
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Make a copy of one page with a fault in it, served beside the rest of the site."""

    def copy(html):
        folder = tmp_path_factory.mktemp("site")
        (folder / "book").mkdir()
        for part in ("_static", "vendor", "_images"):
            if (site.SITE / part).exists():
                (folder / part).symlink_to(site.SITE / part)
        (folder / "book" / "page.html").write_text(html, encoding="utf-8")
        return folder

    return copy


@pytest.mark.parametrize("plant", PLANTS)
def test_outside_request_is_seen(browser, copy, plant):
    html = site.text("book/notation.html").replace("</body>", PLANTS[plant] + "</body>")
    folder = copy(html)
    with site.served(folder) as base, site.visit(browser, base, "book/page.html", folder=folder) as seen:
        assert seen.outside


def test_missing_file_and_error_are_seen(browser, copy):
    fault = '<img alt="x" src="gone.png"><script>throw new Error("planted")</script>'
    folder = copy(site.text("book/notation.html").replace("</body>", fault + "</body>"))
    with site.served(folder) as base, site.visit(browser, base, "book/page.html", folder=folder) as seen:
        assert "404 /book/gone.png" in seen.missing
        assert any("planted" in e for e in seen.errors)


def test_picture_without_link_is_seen(browser, copy):
    """A slider that is not tied to its picture, as `interact` leaves it on a page, must not pass."""
    html = site.text("book/intro.html")
    loose = html.replace('"selected_index"]', '"tooltip"]')
    assert loose != html
    folder = copy(loose)
    with site.served(folder) as base, site.visit(browser, base, "book/page.html", folder=folder) as seen:
        seen.page.set_default_timeout(2000)
        with pytest.raises(Exception, match="Timeout"):
            check_slider(seen.page, 0)
        assert site.picture(seen.page)[1].get_attribute("aria-valuenow") == "1.0"  # the slider itself moved


def test_pages_were_found():
    assert {"book/intro.html", "book/notation.html", "search.html"} <= set(site.pages())
    assert all(Path(site.SITE / p).stat().st_size for p in site.pages())
