"""Progress bars, shown only when work takes longer than two seconds and gone when it is done."""

from tqdm import tqdm

SECONDS = 2.0


def progress(iterable=None, *, label: str, **options) -> tqdm:
    """Wrap an iterable, or make a bar to ``update()``; the variable TQDM_DISABLE=1 switches all bars off."""
    return tqdm(iterable, desc=label, delay=SECONDS, leave=False, **options)
