"""A Zarr store that fails as stores do: to try what a program makes of it."""

from __future__ import annotations

import asyncio
import errno
import random
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class Fault(StrEnum):
    """What a store does with a value that it is given, or asked for.

    Attributes
    ----------
    LOST
        It does not keep it, without a word; it has it not.
    LATE
        It takes its time.
    TRUNCATED
        It keeps, or gives, the first half.
    CORRUPTED
        One bit of it is another.
    DENIED
        It raises PermissionError.
    FULL
        It raises OSError (no space left) where it is given one; it gives what it has.
    """

    LOST = "lost"
    LATE = "late"
    TRUNCATED = "truncated"
    CORRUPTED = "corrupted"
    DENIED = "denied"
    FULL = "full"


class FaultyStore(WrapperStore[Store]):
    """A store in front of another, that fails for some of its keys.

    Which keys these are depends on `seed` and their names alone: not on the order, the time or
    the process in which they are asked for.

    Parameters
    ----------
    store : zarr.abc.store.Store
        What holds the values.
    fault : Fault or str
        How it fails.
    share : float, default 1.0
        Of the keys, those for which it fails: 0 none, 1 all.
    keys : str, default ""
        A regular expression; keys in which it is not found are served well. ``r"(^|/)c/"`` are
        the chunks of Zarr 3.
    seed : int, default 0
        Of the choice of keys and bits.
    seconds : float, default 0.05
        How late it is, if it is late.

    Attributes
    ----------
    active : bool
        Whether it fails at present; True at first. To lose what was there when an image was
        opened, set it afterwards.
    struck : set of str
        The keys for which it has failed in this process.

    Raises
    ------
    ValueError
        If there is no such fault, or `share` is not in [0, 1].

    Examples
    --------
    >>> import zarr
    >>> from napari_local_ncc.files.faulty_store import FaultyStore
    >>> store = FaultyStore(zarr.storage.MemoryStore(), "lost", keys="^c/")
    >>> array = zarr.create_array(store, shape=(4,), chunks=(2,), dtype="u1", fill_value=7)
    >>> array[...] = 1
    >>> array[...].tolist(), sorted(store.struck)
    ([7, 7, 7, 7], ['c/0', 'c/1'])
    """

    def __init__(
        self,
        store: Store,
        fault: Fault | str,
        *,
        share: float = 1.0,
        keys: str = "",
        seed: int = 0,
        seconds: float = 0.05,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share}")
        super().__init__(store)
        self.fault = Fault(fault)
        self.active = True
        self.struck: set[str] = set()
        self._how: dict[str, Any] = {"share": share, "keys": keys, "seed": seed, "seconds": seconds}

    def _with_store(self, store: Store) -> FaultyStore:
        other = FaultyStore(store, self.fault, **self._how)
        other.active, other.struck = self.active, self.struck
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._store, self.fault, self._how, self.active)

    def __str__(self) -> str:
        return str(self._store)

    def __repr__(self) -> str:
        return f"FaultyStore({self._store!r}, {self.fault.value!r})"

    def _chance(self, key: str) -> random.Random:
        return random.Random(f"{self._how['seed']} {key}")

    def _fails(self, key: str) -> bool:
        """Return whether to fail for a key, and note it."""
        chosen = re.search(self._how["keys"], key) is not None
        fails = self.active and chosen and self._chance(key).random() < self._how["share"]
        if fails:
            self.struck.add(key)
        return fails

    async def _strike(self, key: str, value: Buffer | None) -> Buffer | None:
        """Return what becomes of a value; None where it is lost."""
        if self.fault is Fault.DENIED:
            raise PermissionError(errno.EACCES, "Permission denied", f"{self}/{key}")
        if self.fault is Fault.LATE:
            await asyncio.sleep(self._how["seconds"])
        if value is None or self.fault is Fault.LOST:
            return None
        if self.fault is Fault.TRUNCATED:
            return value[: len(value) // 2]
        if self.fault is Fault.CORRUPTED and len(value):
            content = bytearray(value.to_bytes())
            chance = self._chance(f"bit of {key}")
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            return type(value).from_bytes(bytes(content))
        return value

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value, or a part of it, as far as the fault lets it."""
        if not self._fails(key):
            return await self._store.get(key, prototype, byte_range)
        value = await self._strike(key, await self._store.get(key, prototype))
        return value if value is None or byte_range is None else _part(value, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return parts of values."""
        asked = [self.get(key, prototype, byte_range) for key, byte_range in key_ranges]
        return list(await asyncio.gather(*asked))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        """Return whether there is a value."""
        lost = self.fault is Fault.LOST and self._fails(key)
        return not lost and await self._store.exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Keep a value, as far as the fault lets it."""
        kept: Buffer | None = value
        if self._fails(key):
            if self.fault is Fault.FULL:
                raise OSError(errno.ENOSPC, "No space left on device", f"{self}/{key}")
            kept = await self._strike(key, value)
        if kept is not None:
            await self._store.set(key, kept)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Keep a value where there is none."""
        if not await self._store.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))


def _restore(store: Store, fault: Fault, how: dict[str, Any], active: bool) -> FaultyStore:
    restored = FaultyStore(store, fault, **how)
    restored.active = active
    return restored


def _part(value: Buffer, byte_range: ByteRequest) -> Buffer:
    """Return the bytes that a request names."""
    if isinstance(byte_range, RangeByteRequest):
        return value[byte_range.start : byte_range.end]
    if isinstance(byte_range, SuffixByteRequest):
        return value[max(0, len(value) - byte_range.suffix) :]
    return value[byte_range.offset :]
