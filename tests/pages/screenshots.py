"""Store pictures of every page for people to look at: python -m tests.pages.screenshots FOLDER [PAGE ...]"""

import sys
from pathlib import Path

from tests.pages import site


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    if why := site.why_not():
        print(why)
        return 1
    folder, wanted = Path(arguments[0]), arguments[1:]
    folder.mkdir(parents=True, exist_ok=True)
    with site.served(site.SITE) as base, site.chromium() as browser:
        for path in site.pages():
            if wanted and not any(w in path for w in wanted):
                continue
            for device, size in (("desktop", site.DESKTOP), ("phone", site.PHONE)):
                for theme in ("light", "dark"):
                    name = f"{path.removesuffix('.html').replace('/', '-')}-{device}-{theme}.png"
                    with site.visit(browser, base, path, size=size, theme=theme) as seen:
                        seen.page.screenshot(path=folder / name, full_page=True)
                    print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
