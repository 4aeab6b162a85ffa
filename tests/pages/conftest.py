"""Tests of the built pages in a browser; all are skipped, with the reason, where that cannot be."""

from functools import cache

import pytest

from tests.pages import site


@cache
def reason():
    return site.why_not()


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/pages/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)
            if reason():
                item.add_marker(pytest.mark.skip(reason=reason()))
            if page := getattr(item, "callspec", None) and item.callspec.params.get("path"):
                item.add_marker(pytest.mark.xdist_group(page))  # one worker opens it once for several tests


def pytest_terminal_summary(terminalreporter):
    """Print the weights of the pages: as sent packed (what GitHub Pages does), and as stored."""
    lines = [
        text
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "weight"
    ]
    if lines:
        terminalreporter.write_line(f"{'page':44} {'sent MB':>8} {'stored MB':>10} {'files':>6}  moves")
        terminalreporter.write_line("\n".join(sorted(lines)))


@pytest.fixture(scope="session")
def browser():
    with site.chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def base():
    with site.served(site.SITE) as address:
        yield address


@pytest.fixture
def open_page(browser, base):
    """Return a function that opens a page of the book; it is closed after the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def open_page(path, **options):
            return stack.enter_context(site.visit(browser, base, path, **options))

        yield open_page
