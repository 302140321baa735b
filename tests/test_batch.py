"""Many pairs: each gets a verdict, a bad one stops nothing, and a second run goes on."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import scipy.ndimage
import tifffile
import zarr

from napari_local_ncc import NCCParameters
from napari_local_ncc.batch import (
    FilePair,
    Settings,
    compare,
    pair_by_name,
    read_pairs,
    run_batch,
)
from napari_local_ncc.batch.place import boxes, place_evidence
from napari_local_ncc.batch.results import outliers, write_results
from napari_local_ncc.batch.run import check_folder, iter_run_batch
from napari_local_ncc.cli import main
from napari_local_ncc.reports.verdict import (
    Judgement,
    PlaceEvidence,
    ShiftEvidence,
    Verdict,
    judge_place,
    judge_series,
)

SIDE = 96
FAST = ("--bands", "ncc", "--radius", "3")


def texture(seed, side=SIDE + 40):
    noise = np.random.default_rng(seed).normal(size=(side, side))
    smooth = scipy.ndimage.gaussian_filter(noise, 1.2)
    return smooth / smooth.std()


def noisy(image, seed):
    return (image + 0.2 * np.random.default_rng(seed).normal(size=image.shape)).astype("f4")


def pair_of(relation):
    """Return two images of which moving is right, displaced by (5, -3) px, or unrelated."""
    scene = texture(1)
    moving = {
        "right": scene[20:-20, 20:-20],
        "displaced": scene[15:-25, 23:-17],
        "unrelated": texture(2)[20:-20, 20:-20],
    }[relation]
    return noisy(scene[20:-20, 20:-20], 3), 3 * noisy(moving, 4) + 100


# ------------------------------------------------------------------ the verdict


@pytest.mark.parametrize(
    ("relation", "judgement"), [("right", "good"), ("displaced", "failed"), ("unrelated", "failed")]
)
def test_a_verdict_says_what_is_so(relation, judgement):
    verdict = judge_place(place_evidence(*pair_of(relation)))
    assert verdict.judgement == judgement
    if relation == "displaced":
        assert verdict.distance_px == pytest.approx(np.hypot(5, 3), abs=0.1)


def test_what_is_displaced_in_a_part_is_not_good():
    fixed, right = pair_of("right")
    _, moved = pair_of("displaced")
    partly = np.concatenate([moved[:48], right[48:]])
    verdict = judge_place(place_evidence(fixed, partly))
    assert verdict.judgement != Judgement.GOOD


@pytest.mark.parametrize("sigma", [3, 5])
def test_smooth_structure_that_is_displaced_in_a_part_is_not_good(sigma):
    """The border of a block, made even alone, leaves a mark in both images: none at no shift."""
    noise = np.random.default_rng(sigma).normal(size=(190, 190))
    scene = scipy.ndimage.gaussian_filter(noise, sigma)
    scene /= scene.std()
    fixed, moved = scene[20:164, 20:164], scene[24:168, 19:163]
    partly = np.concatenate([moved[:48], fixed[48:]])
    evidence = place_evidence(noisy(fixed, 1), noisy(partly, 2))
    distances = [block.distance_px for block in evidence.blocks[:3]]
    assert distances == pytest.approx([np.hypot(4, 1)] * 3, abs=1)
    assert judge_place(evidence).judgement != Judgement.GOOD
    assert judge_place(place_evidence(noisy(fixed, 1), noisy(fixed, 2))).judgement == Judgement.GOOD


def test_no_structure_and_noise_alone_are_not_judged():
    fixed, _ = pair_of("right")
    flat = judge_place(place_evidence(fixed, np.zeros_like(fixed)))
    assert flat.judgement == Judgement.CHECK
    noise = np.random.default_rng(0).normal(size=(2, SIDE, SIDE))
    assert judge_place(place_evidence(*noise)).judgement != Judgement.GOOD


def test_where_contrast_may_differ_absence_is_no_failure():
    evidence = place_evidence(*pair_of("unrelated"))
    assert judge_place(evidence, same_contrast=False).judgement == Judgement.CHECK


@pytest.mark.parametrize("shape", [(9,), (300,), (96, 200), (5, 96, 96), (48, 48, 48)])
def test_blocks_lie_within_an_image_and_reach_its_ends(shape):
    found = list(boxes(shape))
    assert 1 <= len(found) <= 36
    for axis, n in enumerate(shape):
        assert min(box[axis].start for box in found) == 0
        assert max(box[axis].stop for box in found) == n


def test_a_large_image_is_placed_at_full_resolution():
    scene = texture(6, 660)
    moved = scipy.ndimage.shift(scene, (1.6, 1.2), order=3)
    inner = (slice(10, -10),) * 2
    verdict = judge_place(place_evidence(noisy(scene[inner], 1), noisy(moved[inner], 2)))
    assert verdict.judgement == Judgement.FAILED
    assert verdict.distance_px == pytest.approx(2.0, abs=0.1)


def test_volumes_are_judged():
    noise = np.random.default_rng(5).normal(size=(40, 60, 60))
    scene = scipy.ndimage.gaussian_filter(noise, 1.0)
    fixed, right, moved = scene[4:28, 6:54, 6:54], scene[4:28, 6:54, 6:54], scene[7:31, 6:54, 8:56]
    assert judge_place(place_evidence(fixed, 2 * right + 1)).judgement == Judgement.GOOD
    verdict = judge_place(place_evidence(fixed, moved))
    assert verdict.judgement == Judgement.FAILED
    assert verdict.distance_px == pytest.approx(np.hypot(3, 2), abs=0.1)


def test_a_dask_array_is_judged_as_its_values_are():
    import dask.array as da

    pair = pair_of("displaced")
    lazy = [da.from_array(each, chunks=40) for each in pair]
    assert place_evidence(*lazy) == place_evidence(*pair)


SURE = ShiftEvidence(0.1, 0.1, best=30, here=30, chance=5, chance_here=5, expected=32)


def test_thresholds_of_the_verdict():
    assert judge_place(PlaceEvidence(SURE, (SURE,))).judgement == Judgement.GOOD
    assert judge_place(PlaceEvidence(SURE)).judgement == Judgement.CHECK  # no part shows it
    assert judge_place(PlaceEvidence(SURE, (SURE,)), doubt="periodic").judgement == Judgement.CHECK
    unsure = ShiftEvidence(0.9, 0.3, best=30, here=30, chance=5, chance_here=5, expected=32)
    assert judge_place(PlaceEvidence(unsure)).judgement == Judgement.CHECK
    # what was searched for has to exceed the best of all shifts of unrelated structure
    found = ShiftEvidence(0.0, 0.1, best=6, here=6, chance=5.5, chance_here=3, expected=8)
    assert judge_place(PlaceEvidence(found, (SURE,))).judgement == Judgement.GOOD
    assert judge_place(PlaceEvidence(found, (SURE,)), searched=True).judgement == Judgement.CHECK
    elsewhere = ShiftEvidence(6.0, 0.2, best=12, here=3, chance=4, chance_here=4, expected=14)
    parts = PlaceEvidence(SURE, (SURE, SURE, SURE, elsewhere))
    assert parts.right_share() == 0.75
    assert judge_place(parts).judgement == Judgement.CHECK
    # structure that should be found again and is not counts, but for other contrasts
    lost = ShiftEvidence(4.0, 0.5, best=4, here=2, chance=4, chance_here=4, expected=14)
    parts = PlaceEvidence(SURE, (SURE, lost))
    assert parts.right_share() == 0.5
    assert parts.right_share(same_contrast=False) == 1
    weak = ShiftEvidence(4.0, 0.5, best=4.2, here=4, chance=4, chance_here=4, expected=9)
    assert PlaceEvidence(SURE, (SURE, weak)).right_share() == 1
    # and a block that fits here nearly as well as beside is not held against it
    beside = ShiftEvidence(1.8, 0.3, best=9, here=8.8, chance=4, chance_here=4, expected=11)
    assert PlaceEvidence(SURE, (beside,)).right_share() == 1


def test_a_series_is_good_if_all_of_its_frames_are():
    good, failed = Verdict(Judgement.GOOD, "right"), Verdict(Judgement.FAILED, "wrong", 5.0)
    assert judge_series([good, good]).judgement == Judgement.GOOD
    mixed = judge_series([good, failed, good])
    assert (mixed.judgement, mixed.distance_px) == (Judgement.CHECK, 5.0)
    assert mixed.reason == "2 good, 1 failed of 3 frames"


def test_a_verdict_says_what_contrast_it_looked_for():
    nothing = PlaceEvidence(ShiftEvidence(50.0, 0.1, best=3, here=0, chance=5, chance_here=5))
    said = [judge_place(nothing, same_contrast=same) for same in (True, False)]
    assert [each.judgement for each in said] == [Judgement.CHECK] * 2
    assert ["inverted" in each.reason for each in said] == [False, True]


def test_frames_judged_alike_are_not_told_by_the_first_alone():
    near = Verdict(Judgement.FAILED, "the images fit 5.0 px from where they lie", 5.0, 0.1, 0.0)
    far = Verdict(Judgement.FAILED, "the images fit 50.0 px from where they lie", 50.0, 0.1, 0.0)
    found = judge_series([near, far, near])
    assert (found.judgement, found.distance_px) == (Judgement.FAILED, 50.0)
    assert found.reason == f"all 3 frames; of frame 1 (from 0): {far.reason}"
    assert judge_series([far, far]).reason == f"all 2 frames: {far.reason}"


# ------------------------------------------------------------------ pairs


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return str(folder)


def test_files_are_paired_by_equal_names_or_by_what_differs(tmp_path):
    a, b = touch(tmp_path / "a", "1.tif", "2.tif"), touch(tmp_path / "b", "2.tif", "1.tif")
    assert [pair.name for pair in pair_by_name(a, b)] == ["1", "2"]
    names = [f"s{k}_ch{c}.tif" for k in (1, 2, 11) for c in (0, 1)]
    folder = touch(tmp_path / "c", *names)
    found = pair_by_name(f"{folder}/*_ch0.tif", f"{folder}/*_ch1.tif")
    assert [(pair.fixed[-10:], pair.moving[-10:]) for pair in found] == [
        ("/s1_ch0.tif"[-10:], "/s1_ch1.tif"[-10:]),
        ("s11_ch0.tif"[-10:], "s11_ch1.tif"[-10:]),
        ("/s2_ch0.tif"[-10:], "/s2_ch1.tif"[-10:]),
    ]
    one = pair_by_name(f"{folder}/s1_ch0.tif", f"{folder}/*_ch1.tif")
    assert len(one) == 3
    assert len({pair.fixed for pair in one}) == 1


def test_what_has_no_partner_is_named(tmp_path):
    a, b = touch(tmp_path / "a", "1.tif", "2.tif"), touch(tmp_path / "b", "1.tif", "3.tif")
    with pytest.raises(ValueError, match=r"2 files have no partner.*2\.tif"):
        pair_by_name(a, b)
    with pytest.raises(FileNotFoundError, match="none"):
        pair_by_name(str(tmp_path / "none*"), b)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column fixed or moving"),
        ("fixed,moving\n1,\n", "row 2: moving is empty"),
        ("fixed,moving,name\n1,2,x\n3,4,X\n", "two pairs are called X"),
        ("fixed,moving\n", "holds no pair"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "t.csv")


def test_a_table_that_is_no_text_is_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"fixed,moving\n\xff\xfe,b\n")
    with pytest.raises(ValueError, match=r"cannot read .*t\.csv"):
        read_pairs(tmp_path / "t.csv")


def test_paths_of_a_table_are_relative_to_it(tmp_path):
    text = "\ufefffixed,moving,name,note\na.tif,sub/b.tif,x/y,hello\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    (found,) = read_pairs(tmp_path / "t.csv")
    assert found.name == "x_y"
    assert found.moving == str(tmp_path / "sub" / "b.tif")
    assert found.mask == ""


def test_outliers_are_unlike_the_rest():
    rows = [{"name": str(k), "median_ncc": 0.9 + 0.01 * k, "shift_px": None} for k in range(6)]
    assert outliers(rows) == {}
    rows.append({"name": "odd", "median_ncc": 0.1, "shift_px": None})
    assert list(outliers(rows)) == ["odd"]
    assert outliers(rows[-4:]) == {}  # too few to be a folder


# ------------------------------------------------------------------ the command


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Three pairs that differ in truth, and one that cannot be read."""
    for relation in ("right", "displaced", "unrelated"):
        fixed, moving = pair_of(relation)
        tifffile.imwrite(tmp_path / "fixed.tif", fixed)
        tifffile.imwrite(tmp_path / f"{relation}.tif", moving)
    (tmp_path / "broken.tif").write_bytes(b"no image")
    rows = [f"fixed.tif,{name}.tif" for name in ("right", "displaced", "broken", "unrelated")]
    (tmp_path / "pairs.csv").write_text("\n".join(["fixed,moving", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(folder):
    text = (folder / "out" / "results.csv").read_text(encoding="utf-8")
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def test_a_batch_judges_each_pair_and_a_bad_one_stops_nothing(table, capsys, repository):
    words = ["batch", "pairs.csv", "-o", "out", *FAST, "--json"]
    assert main([*words, "--report", "out/r.html", "--multiqc", "t_mqc.json"]) == 3
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    schema = (repository / "docs" / "local-ncc-1.schema.json").read_text(encoding="utf-8")
    jsonschema.validate(document, json.loads(schema))
    assert document["counts"] == {"error": 1, "failed": 2, "check": 0, "good": 1}
    headlines = {row["name"]: row["headline"] for row in document["pairs"]}
    assert headlines["broken"] is None
    assert headlines["right"]
    found = results(table)
    verdicts = {name: row["verdict"] for name, row in found.items()}
    expected = {"right": "good", "displaced": "failed", "broken": "error", "unrelated": "failed"}
    assert verdicts == expected
    assert float(found["displaced"]["distance_px"]) == pytest.approx(np.hypot(5, 3), abs=0.1)
    assert "broken.tif" in found["broken"]["reason"]
    assert (table / "out" / "right.ome.zarr").is_dir()

    page = (table / "out/r.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page)  # it needs nothing else
    order = re.findall(r"<article id='(\w+)'", page)
    assert order == ["broken", "displaced", "unrelated", "right"]
    table_of_multiqc = json.loads((table / "t_mqc.json").read_text(encoding="utf-8"))
    assert table_of_multiqc["data"]["right"]["verdict"] == "good"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "right.tif", "--report", "right.tif/r.html"], "right.tif is a file; the results"),
        (["-o", "new/out", "--report", "new/out/r.html", "--multiqc", "no/x.json"], "no folder no"),
        (["-o", "out", "--report", "out/r.html", "--multiqc", "out/x.csv"], "must end in .json"),
    ],
)
def test_a_page_that_is_refused_leaves_no_folder(words, said, table, capsys):
    before = sorted(table.rglob("*"))
    assert main(["batch", "pairs.csv", *words, *FAST]) == 2
    assert said in capsys.readouterr().err
    assert sorted(table.rglob("*")) == before


def test_a_second_run_goes_on_where_the_first_ended(table, capsys):
    words = ["batch", "pairs.csv", "-o", "out", *FAST, "--no-maps"]
    assert main(words) == 3
    assert not list((table / "out").glob("*.zarr"))
    capsys.readouterr()
    _, moving = pair_of("right")
    tifffile.imwrite(table / "broken.tif", moving)
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "right, compared before" in said
    assert "broken, compared before" not in said
    assert results(table)["broken"]["verdict"] == "good"
    # other settings, or another file, are compared again
    assert main([*words[:-3], "--radius", "4", "--no-maps"]) == 0
    assert "compared before" not in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["right.ome.zarr", "right.ome.zarr/0"])
def test_a_map_that_is_gone_is_made_again(table, capsys, lost):
    words = ["batch", "fixed.tif", "right.tif", "-o", "out", *FAST]
    assert main(words) == 0
    shutil.rmtree(table / "out" / lost)
    if lost.endswith("0"):  # what is left is a map no more
        assert main(words) == 2
        assert "right.ome.zarr is no result of a batch" in capsys.readouterr().err
        shutil.rmtree(table / "out" / "right.ome.zarr")
    assert main(words) == 0
    assert "compared before" not in capsys.readouterr().err
    assert (table / "out" / "right.ome.zarr" / "0").is_dir()
    assert main(words) == 0
    assert "compared before" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["right.json", "results.csv", "frames.csv", "right.ome.zarr"])
@pytest.mark.parametrize(
    "content", ["mine", "name,fixed,moving\n", "[]", "{}", '{"key": 3}', '{"verdict": []}']
)
def test_what_others_wrote_is_not_replaced(table, capsys, name, content):
    (table / "out").mkdir()
    (table / "out" / name).write_text(content, encoding="utf-8")
    assert main(["batch", "fixed.tif", "right.tif", "-o", "out", *FAST]) == 2
    assert f"{name} is no result of a batch" in capsys.readouterr().err
    assert [path.name for path in (table / "out").iterdir()] == [name]
    assert (table / "out" / name).read_text(encoding="utf-8") == content


def test_tables_of_a_batch_are_its_own(tmp_path):
    verdict = {"judgement": "good", "reason": "", "distance_px": 0.0, "error_px": 0.1}
    frame = {"frame": {"t": 0}, "verdict": verdict, "ncc": {"median": 0.9}}
    document = {"name": "p", "verdict": verdict, "files": {"fixed": "a", "moving": "b"}}
    written = write_results([document | {"frames": [frame, frame]}], tmp_path)
    assert set(written) == {"results", "frames"}
    check_folder([FilePair("p", "a", "b")], tmp_path, keep_maps=False)


def test_results_replace_no_input(table, capsys):
    for side, name in (("f", "fixed.tif"), ("m", "right.tif")):
        image = tifffile.imread(table / name)
        (table / side).mkdir()
        zarr.create_array(table / side / "p1.ome.zarr", data=image)
    for folder in "fm":
        assert main(["batch", "f", "m", "-o", folder, *FAST]) == 2
        assert "would replace the input p1.ome.zarr" in capsys.readouterr().err
    for side in "fm":
        assert [path.name for path in (table / side).iterdir()] == ["p1.ome.zarr"]
    assert main(["batch", "f", "m", "-o", "f/p1.ome.zarr", *FAST, "--no-maps"]) == 2
    assert main(["batch", "f", "m", "-o", "m", *FAST, "--no-maps"]) == 0
    assert main(["batch", "pairs.csv", "-o", ".", *FAST, "--report", "right.html"]) == 3
    assert main(["batch", "fixed.tif", "right.tif", "-o", "pairs.csv", *FAST]) == 2
    assert "pairs.csv is a file" in capsys.readouterr().err


def test_one_run_works_in_a_folder(table):
    pairs = [FilePair("p", "fixed.tif", "right.tif")]
    settings = Settings(NCCParameters(radius=3), keep_maps=False)
    run = iter_run_batch(pairs, settings, Path("out"))
    next(run)
    with pytest.raises(FileExistsError, match="is being written by another run"):
        run_batch(pairs, settings, Path("out"))
    run.close()
    assert list((table / "out").iterdir()) == []
    assert len(run_batch(pairs, settings, Path("out"))) == 1
    assert [path.name for path in (table / "out").iterdir()] == ["p.json"]


def test_formulas_in_tables_of_a_batch_are_texts(table):
    rows = "name,fixed,moving\n=1+1,fixed.tif,right.tif\n@x,fixed.tif,broken.tif\n"
    (table / "t.csv").write_text(rows, encoding="utf-8")
    assert main(["batch", "t.csv", "-o", "out", *FAST]) == 3
    assert list(results(table)) == ["'=1+1", "'@x"]


def test_pairs_that_are_not_good_end_with_3_where_that_is_asked_for(table, capsys):
    for moving, code in (("right", 0), ("displaced", 3)):
        words = ["batch", "fixed.tif", f"{moving}.tif", "-o", "out", *FAST]
        assert main(words) == 0
        assert main([*words, "--strict"]) == code
    assert "done, but doubtful (--strict): 1 of 1 pairs: failed" in capsys.readouterr().err


def test_other_rules_or_a_rewritten_zarr_are_compared_again(tmp_path, monkeypatch):
    values = np.ones((8, 8), "f4")
    path = tmp_path / "a.zarr"
    zarr.create_group(path).create_array("0", data=values, chunks=(4, 4))
    pair, settings = FilePair("pair", str(path), str(tmp_path / "b.tif")), Settings()
    keys = [settings.key(pair)]
    assert settings.key(pair) == keys[0]
    time.sleep(0.02)  # clocks of file systems are coarse
    zarr.create_group(path, overwrite=True).create_array("0", data=2 * values, chunks=(4, 4))
    keys.append(settings.key(pair))
    tifffile.imwrite(pair.moving, values)
    keys.append(settings.key(pair))
    monkeypatch.setattr(compare, "RULES", compare.RULES + 1)
    keys.append(settings.key(pair))
    monkeypatch.setattr(compare, "DEFINITION", compare.DEFINITION + 1)
    keys.append(settings.key(pair))
    monkeypatch.setattr(compare, "version", lambda _: "0.0.0")
    keys.append(settings.key(pair))
    assert len(set(keys)) == len(keys)


def test_registering_mends_what_is_displaced(table, capsys):
    assert (
        main(["batch", "fixed.tif", "d*.tif", "-o", "out", *FAST, "--register", "translation"]) == 0
    )
    row = results(table)["displaced"]
    assert row["verdict"] == "good"
    assert float(row["shift_px"]) == pytest.approx(np.hypot(5, 3), abs=0.1)
    assert 0 < float(row["expected_error_px"]) < 0.5


def test_a_mask_and_a_transform_of_a_table_are_obeyed(table, capsys):
    fixed, displaced = pair_of("displaced")
    _, right = pair_of("right")
    half = np.zeros(fixed.shape, np.uint8)
    half[:, :48] = 1
    tifffile.imwrite(table / "half.tif", half)
    tifffile.imwrite(table / "mixed.tif", np.where(half, right, displaced))
    matrix = "1,0,5\n0,1,-3\n0,0,1\n"
    (table / "there.csv").write_text(matrix, encoding="utf-8")
    rows = ["name,fixed,moving,mask,transform", "all,fixed.tif,mixed.tif,,"]
    rows += ["half,fixed.tif,mixed.tif,half.tif,", "moved,fixed.tif,displaced.tif,,there.csv"]
    (table / "more.csv").write_text("\n".join(rows), encoding="utf-8")
    assert main(["batch", "more.csv", "-o", "out", *FAST, "--no-maps"]) == 0
    verdicts = {name: row["verdict"] for name, row in results(table).items()}
    assert verdicts["half"] == verdicts["moved"] == "good"
    assert verdicts["all"] != "good"


def test_frames_of_a_series_are_judged_one_by_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = [pair_of(relation) for relation in ("right", "displaced", "right")]
    for name, images in zip(("a", "b"), zip(*frames, strict=True), strict=True):
        axes = {"axes": "TYX"}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", np.stack(images), metadata=axes)
    assert main(["batch", "a.ome.tif", "b.ome.tif", "-o", "out", *FAST]) == 0
    (row,) = results(tmp_path).values()
    assert (row["verdict"], row["exclude_frames"]) == ("check", "t=1")
    text = (tmp_path / "out" / "frames.csv").read_text(encoding="utf-8")
    verdicts = [each["verdict"] for each in csv.DictReader(text.splitlines())]
    assert verdicts == ["good", "failed", "good"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("batch none.csv -o out", "none.csv"),
        ("batch fixed.tif -o out", "no table"),
        ("batch a b c -o out", "quote patterns"),
        ("batch pairs.csv -o out --report r.pdf", ".html"),
        ("batch pairs.csv -o out --bands shift", "must contain ncc"),
        ("batch pairs.csv -o out --register warp", "warp"),
    ],
)
def test_bad_words_are_said_before_any_work(table, capsys, words, message):
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (table / "out").exists()


def test_the_page_of_a_map_stands_alone(table, capsys):
    words = ["map", "fixed.tif", "right.tif", "-o", "m.ome.zarr", "--report", "r.html"]
    assert main([*words, "--register", "translation", "--radius", "3"]) == 0
    page = (table / "r.html").read_text(encoding="utf-8")
    assert "badge good" in page
    assert page.count("<figure>") == 4
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    assert "local-ncc map" in page  # the recipe
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page)
