"""Progress bars, shown only when work takes longer than two seconds and gone when it is done."""

from tqdm import tqdm

SECONDS = 2.0


def progress(iterable=None, *, label: str, show: bool = True, **options) -> tqdm:
    """Wrap an iterable, or make a bar to ``update()``; the variable TQDM_DISABLE=1 switches all bars off."""
    if not show:
        options["disable"] = True  # passed only then: disable=False would overrule the variable
    return tqdm(iterable, desc=label, delay=SECONDS, leave=False, **options)
