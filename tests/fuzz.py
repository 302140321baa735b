"""Damaged files by the thousand: each must end in a result, or in one line and exit code 2.

`python tests/fuzz.py 2000` writes what became of each kind; `test_fuzz.py` holds a few of them.
Every mutant is tried in a process forked from one that has loaded everything.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_SECONDS = 5.0  # of processor time
MOST_WALL = 60.0  # seconds: a machine may be busy
MOST_BYTES = 10**9  # resident
ROOM = 6 * 2**30  # bytes of addresses beyond those of the warm process: saves the machine
DEEP = 50_000

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)
STACK = np.random.default_rng(1).integers(0, 60000, (3, 24, 32)).astype(np.uint16)
NUMBERS = (0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
WORDS = ("", "0", "-1", "1e308", "nan", "4294967295", "99999999999999999999", "x" * 300, "\x1b[31m")
STRANGE = (None, True, -1, 0, 1e308, 2**70, "", "x", [], {}, [[]], {"a": {}}, float("nan"))


# ---------------------------------------------------------------- the corpus


def write_corpus(folder: Path) -> dict[str, tuple[str, Path]]:
    """Write sound files of every kind; by name: what is done with it, and where it is."""
    import tifffile
    import zarr
    from PIL import Image

    corpus: dict[str, tuple[str, Path]] = {}

    def at(name: str, what: str = "image") -> Path:
        corpus[name] = what, folder / name
        return folder / name

    np.save(at("plain.npy"), PICTURE)
    tifffile.imwrite(at("plain.tif"), PICTURE)
    tifffile.imwrite(at("packed.tif"), STACK, compression="zlib", tile=(16, 16), predictor=True)
    tifffile.imwrite(at("lzw.tif"), PICTURE, compression="lzw")
    tifffile.imwrite(at("rgb.tif"), np.stack([PICTURE] * 3, -1), photometric="rgb")
    tifffile.imwrite(at("series.ome.tif"), STACK, ome=True, photometric="minisblack",
                     metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "um",
                               "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "um"})  # fmt: skip
    tifffile.imwrite(at("imagej.tif"), STACK, imagej=True, resolution=(2, 2),
                     metadata={"axes": "ZYX", "unit": "um", "spacing": 2.0})  # fmt: skip
    Image.fromarray(PICTURE).save(at("grey.png"))
    Image.fromarray(np.stack([PICTURE] * 4, -1)).save(at("rgba.png"))
    Image.fromarray(PICTURE).save(at("grey.jpg"))
    Image.fromarray(PICTURE).save(at("grey.gif"))
    _write_volumes(at)
    zarr.create_array(at("two.zarr"), data=PICTURE, chunks=(16, 16), zarr_format=2)
    zarr.create_array(at("three.zarr"), data=PICTURE, chunks=(16, 16))
    zarr.create_array(at("shards.zarr"), data=PICTURE, chunks=(8, 8), shards=(16, 16))
    _write_ome_zarr(at("image.ome.zarr"), 3, STACK)
    _write_ome_zarr(at("image4.ome.zarr"), 2, STACK)
    _write_made(at)
    _write_transforms(at)
    return corpus


def _write_ome_zarr(path: Path, zarr_format: int, stack: np.ndarray) -> None:
    import zarr

    axes = [{"name": k, "type": "space", "unit": "micrometer"} for k in "zyx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 0.5 * 2**level, 0.5 * 2**level]},
                {"type": "translation", "translation": [0.0, 0.25 * level, 0.25 * level]},
            ],
        }
        for level in range(2)
    ]
    document = {
        "multiscales": [{"version": "0.4", "name": "a", "axes": axes, "datasets": datasets}]
    }
    if zarr_format == 3:
        document = {"ome": {"version": "0.5", **document}}
    group = zarr.create_group(path, zarr_format=zarr_format, attributes=document)
    for level in range(2):
        data = stack[:, :: 2**level, :: 2**level]
        group.create_array(str(level), data=np.ascontiguousarray(data), chunks=(1, 16, 16))


def _write_volumes(at) -> None:
    with contextlib.suppress(ImportError):
        import SimpleITK as sitk

        volume = sitk.GetImageFromArray(STACK)
        volume.SetSpacing((0.5, 0.5, 2.0))
        for name in ("volume.nii", "volume.nii.gz", "volume.nrrd", "volume.mha"):
            sitk.WriteImage(volume, str(at(name)))
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(at("image.h5"), "w") as file:
            file.create_dataset("a", data=STACK, chunks=(1, 16, 16), compression="gzip")
    with contextlib.suppress(ImportError):
        import mrcfile

        with mrcfile.new(at("volume.mrc"), STACK) as file:
            file.voxel_size = 2.0


def _write_made(at) -> None:
    from napari_local_ncc import NCCParameters, confidence_map, write_map

    made = confidence_map(PICTURE, PICTURE, parameters=NCCParameters(radius=2))
    for ending in (".npy", ".ome.zarr", ".ome.tif"):
        write_map(made, at(f"map{ending}", "map"))


def _write_transforms(at) -> None:
    from napari_local_ncc import Grid, Registration

    matrix = np.array([[1.0, 0.1, 3.0], [-0.1, 1.0, 2.0], [0.0, 0.0, 1.0]])
    grid = Grid((24, 32), axis_labels=("y", "x"))
    found = Registration.from_matrix(matrix, grid, "affine")
    for name in ("moved.json", "moved.tfm", "TransformParameters.0.txt", "moved.npy", "moved.csv"):
        found.save(at(name, "transform"))
    at("landmarks.csv", "transform").write_text(
        "".join(f'"Pt-{k}","true","{x}","{y}","{x + 1}","{y + 2}"\n'
                for k, (x, y) in enumerate([(1, 1), (20, 2), (3, 18), (25, 20)])),
        encoding="utf-8",
    )  # fmt: skip
    found.save(at("moved.ome.zarr", "transform"))
    shift = np.zeros((2, 24, 32), np.float32) + 1.5
    Registration("flow", np.eye(3), grid, *[np.array(np.nan)] * 3, shift).save(
        at("flow.json", "transform")
    )
    Registration("flow", np.eye(3), grid, *[np.array(np.nan)] * 3, shift).save(
        at("flow.mha", "transform")
    )
    at("points.csv", "points").write_text("y,x,name\n1,2,a\n3,4,b\n", encoding="utf-8")


# ---------------------------------------------------------------- mutators


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Damage bytes: most of the time few of them, near the beginning."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        reach = chance.choice((32, 512, len(data)))
        place = chance.randrange(max(1, min(reach, len(data))))
        length = chance.choice((1, 2, 4, 8, 64))
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            number = chance.choice(NUMBERS) & 0xFFFFFFFF
            data[place : place + 4] = struct.pack(chance.choice("<>") + "I", number)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = bytes(data[place : place + length])
        elif kind == 5:
            data[place : place + length] = b"\0" * length
        elif kind == 6:
            del data[chance.randrange(len(data) + 1) :]
    return bytes(data)


def mutate_text(content: bytes, chance: random.Random) -> bytes:
    """Put strange numbers and words into a text, or lose lines of it."""
    text = content.decode("utf-8", "surrogateescape")
    kind = chance.randrange(5)
    if kind < 3:
        pattern = (r"-?\d+(\.\d+)?([eE][-+]?\d+)?", r'"[^"]*"', r"[A-Za-z]{2,}")[kind]
        found = list(re.finditer(pattern, text))
        for match in sorted(chance.sample(found, min(len(found), chance.choice((1, 1, 3)))),
                            key=lambda m: -m.start()):  # fmt: skip
            word = chance.choice((*WORDS, *map(str, NUMBERS)))
            word = f'"{word}"' if kind == 1 else word
            text = text[: match.start()] + word + text[match.end() :]
    else:
        lines = text.splitlines(keepends=True) or [""]
        k = chance.randrange(len(lines))
        lines[k : k + 1] = [] if kind == 3 else [lines[k]] * chance.choice((2, 3, 50))
        text = "".join(lines)
    return text.encode("utf-8", "surrogateescape")


def mutate_json(content: bytes, chance: random.Random) -> bytes:
    """Put a strange value where a document has another, or leave it out."""
    if chance.random() < 0.02:
        return b"[" * DEEP + b"]" * DEEP
    try:
        document = json.loads(content)
    except ValueError:
        return mutate_text(content, chance)
    for _ in range(chance.choice((1, 1, 2))):
        places = list(_places(document))
        if not places:
            break
        holder, key = chance.choice(places)
        if isinstance(holder, dict) and chance.random() < 0.25:
            del holder[key]
        elif chance.random() < 0.3 and isinstance(holder[key], int | float):
            holder[key] = chance.choice((*NUMBERS, -holder[key], 0.5, float("inf")))
        else:
            holder[key] = chance.choice(STRANGE)
    text = json.dumps(document)
    if chance.random() < 0.02:
        text = text.replace("{", '{"deep": ' + "[" * DEEP + "]" * DEEP + ", ", 1)
    return text.encode()


def _places(node):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def mutate_tiff(content: bytes, chance: random.Random) -> bytes:
    """Damage one field of one entry of the first directories of a little-endian TIFF."""
    if chance.random() < 0.3 or content[:4] != b"II*\0":
        return mutate_bytes(content, chance)
    data = bytearray(content)
    (place,) = struct.unpack_from("<I", data, 4)
    for _ in range(chance.randrange(3)):
        (count,) = struct.unpack_from("<H", data, place)
        (following,) = struct.unpack_from("<I", data, place + 2 + 12 * count)
        place = following or place
    (count,) = struct.unpack_from("<H", data, place)
    for _ in range(chance.choice((1, 1, 2))):
        entry = place + 2 + 12 * chance.randrange(count)
        code, kind, size, value = struct.unpack_from("<HHII", data, entry)
        field = chance.randrange(5)
        if field == 0:
            code = chance.choice((code ^ 1, 262, 277, 338, 317, 259, 322, 330, 274, 42113))
        elif field == 1:
            kind = chance.choice((0, 1, 2, 3, 4, 5, 11, 12, 16, 99))
        elif field == 2:
            size = chance.choice((*NUMBERS, size + 1, size * 2)) & 0xFFFFFFFF
        else:
            value = chance.choice((*NUMBERS, value + 1, value * 2, value ^ 4)) & 0xFFFFFFFF
        struct.pack_into("<HHII", data, entry, code, kind, size, value)
    if chance.random() < 0.1:
        struct.pack_into("<I", data, place + 2 + 12 * count, chance.choice((8, place, 2**31)))
    return bytes(data)


def mutate_ome(content: bytes, chance: random.Random) -> bytes:
    """Damage the XML or the text inside a TIFF without moving what follows."""
    for start, end in ((b"<?xml", b"</OME>"), (b"ImageJ=", b"\0"), (b'{"shape"', b"}")):
        first = content.find(start)
        last = content.find(end, first) + len(end)
        if first >= 0 and last > first:
            inner = mutate_text(content[first:last], chance)[: last - first]
            padded = inner.ljust(last - first, b" ")
            return content[:first] + padded + content[last:]
    return mutate_tiff(content, chance)


def mutate_png(content: bytes, chance: random.Random) -> bytes:
    """Damage one chunk of a PNG, and sum it up anew: most readers look no further."""
    place, chunks = 8, []
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    k = chance.randrange(len(chunks))
    name, data = chunks[k]
    if name == b"IHDR" and chance.random() < 0.7:
        data = bytearray(data)
        data[chance.randrange(13)] = chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 127, 255))
    elif name == b"IDAT" and chance.random() < 0.5:
        data = zlib.compress(mutate_bytes(zlib.decompress(data), chance))
    else:
        data = mutate_bytes(data, chance)
    chunks[k : k + 1] = [(name, bytes(data))] * chance.choice((1, 1, 1, 0, 2))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def mutate_npy(content: bytes, chance: random.Random) -> bytes:
    """Damage the header's text of a npy."""
    if chance.random() < 0.4:
        return mutate_bytes(content, chance)
    end = 10 + struct.unpack_from("<H", content, 8)[0]
    header = mutate_text(content[10:end], chance)
    return content[:8] + struct.pack("<H", len(header) & 0xFFFF) + header + content[end:]


def mutate_file(path: Path, chance: random.Random) -> None:
    """Damage a file by what suits it."""
    content = path.read_bytes()
    name = path.name.lower()
    if content[:4] == b"II*\0":
        how = chance.choice((mutate_tiff, mutate_tiff, mutate_ome))
    elif content.startswith(b"\x93NUMPY"):
        how = mutate_npy
    elif content.startswith(b"\x89PNG"):
        how = chance.choice((mutate_png, mutate_png, mutate_bytes))
    elif name.endswith((".json", ".zarray", ".zgroup", ".zattrs")):
        how = chance.choice((mutate_json, mutate_json, mutate_json, mutate_text, mutate_bytes))
    elif name.endswith((".csv", ".tfm", ".txt")):
        how = chance.choice((mutate_text, mutate_text, mutate_bytes))
    elif content[:6] == b"Object":
        how = chance.choice((mutate_text, mutate_bytes))
    else:
        how = mutate_bytes
    path.write_bytes(how(content, chance))


def mutate(path: Path, chance: random.Random) -> None:
    """Damage a file, or one of those of a folder; some of those are lost."""
    target = chance.choice(sorted(path.parent.iterdir()))
    if target.is_dir():
        files = sorted(p for p in target.rglob("*") if p.is_file())
        documents = [p for p in files if p.suffix == ".json" or p.name.startswith(".z")]
        target = chance.choice(documents if chance.random() < 0.7 else files)
        if chance.random() < 0.05:
            target.unlink()
            return
    mutate_file(target, chance)


# ---------------------------------------------------------------- one trial


def attempt(what: str, path: Path, sound: Path, out: Path) -> int:
    """Do with a file what people do; return the exit code."""
    from napari_local_ncc.cli import main
    from napari_local_ncc.io import read_map

    if what in ("image", "map") or path.suffix in (".json", ".tfm", ".txt"):
        like = ["--like", str(sound)] if what == "transform" else []
        if code := main(["info", str(path), *like]):
            return code
    if what == "image":
        return main(["map", str(path), str(path), "-o", str(out / "m.npy"), "--radius", "1",
                     "--threads", "1"])  # fmt: skip
    if what == "map":
        try:
            np.asarray(read_map(path).bands[..., ::1].compute(scheduler="sync"))
        except (ValueError, OSError) as error:
            print(f"local-ncc: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        return 0
    if what == "transform":
        return main(["apply", str(path), str(sound), "--like", str(sound), "-o",
                     str(out / "m.npy")])  # fmt: skip
    return main(["apply", str(sound.with_name("moved.json")), str(path), "-o", str(out / "p.csv")])


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    kind: str  # result, refused, or a fault: traceback, code, noise, hang, memory, signal
    seconds: float
    bytes: int
    said: str


def try_in_fork(what: str, path: Path, sound: Path, out: Path) -> Outcome:
    """Try a mutant in a process of its own."""
    said = out / "said.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(what, path, sound, out, said)
    start = time.monotonic()
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - start > MOST_WALL:
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            break
        time.sleep(0.002)
    text = said.read_text("utf-8", "replace") if said.exists() else ""
    seconds = used.ru_utime + used.ru_stime
    return Outcome(_judge(status, seconds, used.ru_maxrss * 1024, text), seconds,
                   used.ru_maxrss * 1024, text)  # fmt: skip


def _child(what: str, path: Path, sound: Path, out: Path, said: Path) -> None:
    code = 1
    try:
        import dask.threaded

        dask.threaded.pools.clear()
        dask.threaded.default_pool = None
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ROOM, mapped + ROOM))
        resource.setrlimit(resource.RLIMIT_CPU, (int(MOST_SECONDS) + 1, int(MOST_SECONDS) + 3))
        with said.open("w", encoding="utf-8", errors="surrogateescape") as file:
            os.dup2(file.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                code = attempt(what, path, sound, out)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
    finally:
        os._exit(code)


def _judge(status: int, seconds: float, resident: int, text: str) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "hang" if number in (signal.SIGXCPU, signal.SIGKILL) else f"signal {number}"
    code = os.WEXITSTATUS(status)
    if "Traceback" in text:
        return "traceback"
    if seconds > MOST_SECONDS:
        return "hang"
    if resident > MOST_BYTES:
        return "memory"
    if code == 0:
        return "noise" if re.search(r"Warning|\x1b|^<tifffile", text, re.MULTILINE) else "result"
    errors = [line for line in text.splitlines() if line.startswith("local-ncc: ")]
    if code != 2 or len(errors) != 1:
        return "code"
    ugly = re.search(r"0x[0-9a-f]{6}|itk::|sitk::|\x1b|Warning|pydantic|cannot reshape", text)
    return "noise" if ugly else "refused"


# ---------------------------------------------------------------- many trials


def run(count: int, seed: int = 0, keep: Path | None = None, names: str = ""):
    """Try mutants of every kind in turn; yield name, number and outcome."""
    folder = Path(tempfile.mkdtemp(prefix="local-ncc-fuzz-"))
    try:
        (folder / "corpus").mkdir()
        corpus = write_corpus(folder / "corpus")
        warm_up(corpus, folder)
        chosen = [name for name in corpus if re.search(names, name)]
        for k in range(count):
            name = chosen[k % len(chosen)]
            what, source = corpus[name]
            chance = random.Random(f"{seed} {name} {k}")
            work = folder / "work"
            work.mkdir()
            copies(source, work)
            with contextlib.suppress(IndexError, struct.error):
                mutate(work / name, chance)
            sound = folder / "corpus" / "plain.tif"
            outcome = try_in_fork(what, work / name, sound, work)
            if keep is not None and outcome.kind not in ("result", "refused"):
                kept = keep / f"{outcome.kind.replace(' ', '')}-{k}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(work, kept)
            shutil.rmtree(work)
            yield name, k, outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copies(source: Path, work: Path) -> None:
    """Copy a file, and what lies beside it under its name."""
    beside = [source.with_name(source.name + ".json")]
    if source.suffix == ".json":
        beside.append(source.with_suffix(".zarr"))
    for path in (source, *beside):
        if path.is_dir():
            shutil.copytree(path, work / path.name)
        elif path.is_file():
            shutil.copy(path, work / path.name)


def warm_up(corpus: dict[str, tuple[str, Path]], folder: Path) -> None:
    """Try what is sound, so that trials find all loaded and each pays for itself alone."""
    import dask

    sound = folder / "corpus" / "plain.tif"
    (folder / "warm").mkdir()
    quiet = contextlib.redirect_stdout(io.StringIO())
    with dask.config.set(scheduler="sync"), quiet, contextlib.redirect_stderr(io.StringIO()):
        for what, path in corpus.values():
            assert attempt(what, path, sound, folder / "warm") == 0, f"{path.name} is not sound"
            shutil.rmtree(folder / "warm")
            (folder / "warm").mkdir()
    gc.collect()
    gc.freeze()  # or collecting copies all of this memory in every child


def main(arguments: list[str]) -> int:
    """Run and print a table; the exit code says whether there was a fault."""
    count, seed = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    keep = Path(arguments[2]) if len(arguments) > 2 else None
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    start, slowest, largest = time.monotonic(), 0.0, 0
    for name, k, outcome in run(count, seed, keep, arguments[3] if len(arguments) > 3 else ""):
        counts[name][outcome.kind] += 1
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.bytes)
        if outcome.kind not in ("result", "refused"):
            last = ([line for line in outcome.said.splitlines() if line.strip()] or [""])[-1]
            print(f"{k:6} {name:26} {outcome.kind:10} {outcome.seconds:.1f} s "
                  f"{outcome.bytes / 1e6:.0f} MB  {last[:160]!r}", flush=True)  # fmt: skip
    total: Counter[str] = Counter()
    for name, of in counts.items():
        total += of
        print(f"{name:28} {dict(of)}")
    print(f"all {count}: {dict(total)}; slowest {slowest:.1f} s, largest {largest / 1e6:.0f} MB, "
          f"{time.monotonic() - start:.0f} s in all")  # fmt: skip
    return int(bool(set(total) - {"result", "refused"}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
