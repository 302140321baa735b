"""Chunks of a Zarr array: which are absent, and samples that are what the store holds."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from napari_local_ncc.image.read_guard import (
    ReadError,
    check_claim,
    describe_part,
    guard_reading,
    read_limit,
)
from napari_local_ncc.io.stored import MOST_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import zarr
    from numpy.typing import NDArray

    Chunk = tuple[int, ...]

ENTRY = 16  # bytes of a shard's index for each chunk: where it begins, and how long it is
NO_CHUNK = 2**64 - 1  # offset of an absent chunk in the index of a shard, by the specification
ASKED_AT_ONCE = 64
MOST_CHUNKS = 2**23  # whose presence is kept in memory
MOST_ASKED = 20_000  # of a server that lists nothing


@dataclass(frozen=True, slots=True, eq=False)
class ZarrSamples:
    """Samples of a Zarr array; a chunk that is gone or cannot be read is an error.

    Zarr reads the fill value where there is no chunk, also where there was one.

    Parameters
    ----------
    array : zarr.Array
        The array.
    present : ndarray of bool, optional
        Which chunks (shards, where it has them) were there when it was opened; None where
        that is not known.
    """

    array: zarr.Array[Any]
    present: NDArray[np.bool_] | None
    reads_boxes: ClassVar[bool] = True  # see `chunked.blocks.compute_block`

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with guard_reading(place_of(self.array), describe_part(index, self.shape)):
            samples = np.asarray(self.array[index])
        if self.present is not None:
            self._check_there(samples, index)
        return samples

    def _check_there(self, samples: NDArray[Any], index: Any) -> None:
        """Raise ReadError if a chunk that reads as fill value is not there any more."""
        parts = [
            range(n)[part : part + 1] if isinstance(part, int) else range(n)[part]
            for n, part in zip(self.shape, index, strict=True)
        ]
        block = samples.reshape([len(part) for part in parts])
        edges = outer_chunks(self.array)
        spans = [list(_spans(part, edge)) for part, edge in zip(parts, edges, strict=True)]
        fill = np.asarray(0 if self.array.fill_value is None else self.array.fill_value)
        for span in itertools.product(*spans):
            chunk = tuple(number for number, _ in span)
            part = block[tuple(where for _, where in span)]
            if self.present is not None and not self.present[chunk]:
                continue
            if not _is_all(part, fill):
                continue
            if not has_chunk(self.array, chunk):
                key = self.array.metadata.encode_chunk_key(chunk)
                raise ReadError(
                    f"{place_of(self.array)}: its chunk {key} is gone; it was there before"
                )


def _is_all(part: NDArray[Any], fill: NDArray[Any]) -> bool:
    """Say whether all samples are the fill value, which may be NaN."""
    same = np.isnan if fill.dtype.kind == "f" and np.isnan(fill) else (lambda a: a == fill)
    return bool(same(part.flat[0]) and same(part).all())


def _spans(positions: range, edge: int) -> Iterator[tuple[int, slice]]:
    """Yield the number of each chunk along an axis, and where it lies in what was read."""
    if len(positions):
        numbers = np.asarray(positions) // edge
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, stop in itertools.pairwise([*starts.tolist(), len(numbers)]):
            yield int(numbers[start]), slice(start, stop)


def place_of(array: zarr.Array[Any]) -> str:
    """Return the path or address of an array."""
    return str(array.store_path).removeprefix("file://")


def outer_chunks(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return the edges of what the store holds as one: shards, or chunks."""
    return tuple(array.shards or array.chunks)


def present_chunks(array: zarr.Array[Any]) -> NDArray[np.bool_] | None:
    """Return which chunks (shards) are in the store; None where it cannot be asked."""
    counts = [-(-n // edge) for n, edge in zip(array.shape, outer_chunks(array), strict=True)]
    if math.prod(counts) > MOST_CHUNKS:
        raise ReadError(
            f"its array {array.path or '/'} claims {math.prod(counts):,} chunks of "
            f"{'x'.join(map(str, outer_chunks(array)))}, more than can be kept track of; save it "
            "in larger ones"
        )
    keys = [array.metadata.encode_chunk_key(chunk) for chunk in np.ndindex(*counts)]
    if _lists(array):
        stored = sync(_listed(array))
        there = [_joined(array, key) in stored for key in keys]
    elif len(keys) > MOST_ASKED:
        return None
    else:
        there = sync(_asked(array, keys))
    return np.array(there, bool).reshape(counts)


def check_chunks(array: zarr.Array[Any], present: NDArray[np.bool_]) -> None:
    """Raise ReadError where a chunk would fill the memory with next to nothing."""
    size = math.prod(native_chunks(array)) * array.dtype.itemsize
    if size <= read_limit():
        return
    for chunk in map(tuple, np.argwhere(present)):
        key = _joined(array, array.metadata.encode_chunk_key(chunk))
        check_claim(size, sync(array.store_path.store.getsize(key)), f"its chunk {key}")
    if not present.all():
        check_claim(size, 0, f"a chunk of {'x'.join(map(str, outer_chunks(array)))}")


def native_chunks(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return what is best read at once: shards, but of large ones the chunks inside."""
    edges = outer_chunks(array)
    return edges if math.prod(edges) <= MOST_SAMPLES else tuple(array.chunks)


def absent_in_shards(
    array: zarr.Array[Any], present: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """Return which chunks are absent, and their edges: those inside of shards one by one."""
    if array.shards is None or not present.any():
        return ~present, outer_chunks(array)
    inner = tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    _check_index(array, tuple(np.argwhere(present)[0].tolist()), math.prod(inner))
    absent = ~present
    for axis, count in enumerate(inner):
        absent = absent.repeat(count, axis)
    for shard in zip(*np.nonzero(present), strict=True):
        start = [number * count for number, count in zip(shard, inner, strict=True)]
        here = tuple(slice(a, a + count) for a, count in zip(start, inner, strict=True))
        absent[here] = _absent_in_shard(array, tuple(map(int, shard)), inner)
    counts = [-(-n // edge) for n, edge in zip(array.shape, array.chunks, strict=True)]
    return absent[tuple(map(slice, counts))], tuple(array.chunks)


def _check_index(array: zarr.Array[Any], shard: Chunk, count: int) -> None:
    """Raise ReadError where a shard is smaller than an index of so many chunks."""
    key = _joined(array, array.metadata.encode_chunk_key(shard))
    stored = sync(array.store_path.store.getsize(key))
    if _is_plain(_sharding(array)) and stored < ENTRY * count:
        raise ReadError(
            f"its shard {key} has {stored} bytes, less than an index of {count} chunks takes; the "
            "store is damaged, write it anew"
        )


def _sharding(array: zarr.Array[Any]) -> ShardingCodec:
    return next(c for c in array.metadata.codecs if isinstance(c, ShardingCodec))


def _is_plain(codec: ShardingCodec) -> bool:
    """Return whether the index of shards is not packed."""
    kept = [each for each in codec.index_codecs if not isinstance(each, Crc32cCodec)]
    return len(kept) == 1 and isinstance(kept[0], BytesCodec)


def _absent_in_shard(
    array: zarr.Array[Any], shard: Chunk, inner: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Read the index of a shard: offset and length of every chunk in it."""
    codec = _sharding(array)
    if not _is_plain(codec):
        return np.zeros(inner, bool)
    length = ENTRY * math.prod(inner)
    whole = length + 4 * (len(codec.index_codecs) - 1)
    at_end = codec.index_location.value == "end"
    wanted = SuffixByteRequest(whole) if at_end else RangeByteRequest(0, whole)
    key = _joined(array, array.metadata.encode_chunk_key(shard))
    read = array.store_path.store.get(key, default_buffer_prototype(), byte_range=wanted)
    found = sync(read)
    if found is None:
        return np.ones(inner, bool)
    offsets = np.frombuffer(found.to_bytes()[:length], "<u8").reshape(*inner, 2)[..., 0]
    return offsets == np.uint64(NO_CHUNK)


def has_chunk(array: zarr.Array[Any], chunk: Chunk) -> bool:
    """Return whether a chunk (shard) is in the store now."""
    key = _joined(array, array.metadata.encode_chunk_key(chunk))
    return bool(sync(array.store_path.store.exists(key)))


def _joined(array: zarr.Array[Any], key: str) -> str:
    path = array.store_path.path
    return f"{path}/{key}" if path else key


def _lists(array: zarr.Array[Any]) -> bool:
    store = array.store_path.store
    protocol = getattr(getattr(store, "fs", None), "protocol", ())
    return bool(store.supports_listing) and "http" not in np.atleast_1d(protocol)


async def _listed(array: zarr.Array[Any]) -> set[str]:
    store, path = array.store_path.store, array.store_path.path
    return {key async for key in store.list_prefix(f"{path}/" if path else "")}


async def _asked(array: zarr.Array[Any], keys: Sequence[str]) -> list[bool]:
    store = array.store_path.store
    there: list[bool] = []
    for start in range(0, len(keys), ASKED_AT_ONCE):
        some = keys[start : start + ASKED_AT_ONCE]
        there += await asyncio.gather(*(store.exists(_joined(array, key)) for key in some))
    return there
