"""A local Zarr store that refuses what is not a regular file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from latentfm_core.files.regular import check_regular


class RegularStore(WrapperStore[LocalStore]):
    """A folder opened for reading, in which pipes, sockets and devices could block a read."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self._root = store.root

    @classmethod
    def at(cls, folder: Path) -> RegularStore:
        """Return a store that reads a local folder."""
        return cls(LocalStore(folder, read_only=True))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value; raise `NotRegularError` if it is a pipe, socket or device."""
        self._check_file(key)
        return await super().get(key, prototype, byte_range)

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        requests = list(requests)
        for key, _, _ in requests:
            self._check_file(key)
        async for each in super()._get_many(requests):
            yield each

    def _check_file(self, key: str) -> None:
        if not (self._root / key).is_dir():
            check_regular(self._root / key)
