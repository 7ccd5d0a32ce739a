"""A file that is handed out while it is still being written: what lies in it is on disk, never in memory."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from types import TracebackType

PIECE = 64 * 1024


class Draining(io.RawIOBase):
    """A writable, seekable file whose beginning can be taken away.

    Positions count from the first byte ever written; seeking back before what has been drained is an error. That is
    enough for writers that go back within the part at hand, such as a zip archive to its entry's header.
    """

    def __init__(self) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        self._drained = 0

    def __enter__(self) -> Draining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        super().close()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._drained + self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            if offset < self._drained:
                raise OSError(f"byte {offset} has been handed out already")
            return self._drained + self._file.seek(offset - self._drained)
        return self._drained + self._file.seek(offset, whence)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)

    def drain(self) -> Iterator[bytes]:
        """Hand out what has been written since the last time, in pieces."""
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            self._drained += len(piece)
            yield piece
        self._file.seek(0)
        self._file.truncate()
