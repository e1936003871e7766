"""Import of the published lists: of the real ones, and of a list of four lines with everything that can happen."""

import itertools

import pytest

from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError
from cohortreg.importers.importing import import_tables
from cohortreg.importers.oai_split import full_barcode, import_oai_split, read_list

ANNA, BERT, AGAIN = (
    "11_20040927_SAG_LEFT_016610000001",
    "22_20050101_SAG_RIGHT_10000002",
    "22_20050101_SAG_RIGHT_10000003",
)
ANNA_TRAINED = "11_20040927_SAG_LEFT_10000001"
BOTH = {"22_20050101_right_016610000002", "22_20050101_right_016610000003"}


def line(moving, fixed, label="label_all") -> str:
    paths = [f"/far/{moving}_image.nii.gz", f"/far/{fixed}_image.nii.gz"]
    return "     ".join([*paths, f"/far/x/{moving}_{label}.nii.gz", f"/far/x/{fixed}_{label}.nii.gz"])


@pytest.fixture
def lists(tmp_path):
    """A test list with a repeat and an image with itself, a training list with one image of it, both without a last
    newline; and a folder with some of the files."""
    test, train = tmp_path / "test_pairs.txt", tmp_path / "train_pairs.txt"
    test.write_text(
        "\n".join([line(ANNA, BERT), line(BERT, AGAIN), line(BERT, ANNA), line(ANNA, BERT), line(BERT, BERT)])
    )
    train.write_text(line(ANNA_TRAINED, AGAIN, "prediction_step1"))
    root = tmp_path / "root"
    for name in (
        f"a/b/{ANNA}_image.nii.gz",
        f"labels/{ANNA}_label_all.nii.gz",
        f"labels/{ANNA}_aaa.nii.gz",
        f"{BERT}_image.nii.gz",
        f"{BERT}_prediction.nii.gz",
        "notes.txt",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [train, test], root


@pytest.mark.parametrize(
    ("name", "images", "subjects", "rows", "distinct"),
    [("test", 169, 88, 301, 296), ("val", 360, 192, 201, 201), ("train", 2532, 1355, 1401, 1401)],
)
def test_each_published_list(oai_splits, tmp_path, name, images, subjects, rows, distinct):
    path = oai_splits / f"{name}_pair_path_list.txt"
    published = import_oai_split([path], root=tmp_path, as_published=True)
    table = published.images
    assert (len(table), table["subject_id"].nunique()) == (images, subjects)
    assert set(table["split"]) == {"" if name == "val" else name}
    assert len(published.pairs) == rows
    assert published.pairs["set"].eq("published").sum() == rows - distinct
    ours = import_oai_split([path], root=tmp_path)
    assert len(ours.pairs) == distinct and ours.pairs.columns.tolist() == ["moving", "fixed"]
    for imported in (published, ours):
        write_table(tmp_path / "images.tsv", imported.images)
        write_table(tmp_path / "pairs.tsv", imported.pairs)
        read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))


def test_an_image_has_one_name_whatever_lists_are_imported_together(oai_splits, tmp_path):
    paths = [oai_splits / f"{name}_pair_path_list.txt" for name in ("test", "val", "train")]
    names = {}
    for several in itertools.chain.from_iterable(itertools.combinations(paths, n) for n in (1, 2, 3)):
        table = import_oai_split(several, root=tmp_path).images
        assert table["image_id"].is_unique
        for *scan, image_id in table[["subject_id", "visit", "side", "barcode", "image_id"]].itertuples(
            index=False
        ):
            assert names.setdefault(tuple(scan), image_id) == image_id
    assert len(names) == 169 + 360 + 2532 - 7
    assert sum(image_id.count("_") == 3 for image_id in names.values()) == 4


def test_test_and_training_lists_together(oai_splits, tmp_path):
    """32 of the 88 test subjects are trained on, seven of them by the very scans of the test list."""
    lists = [oai_splits / f"{name}_pair_path_list.txt" for name in ("train", "test")]
    sentences = []
    imported = import_oai_split(lists, sentences.append, tmp_path)
    assert imported.images["split"].value_counts().to_dict() == {"train": 2532, "test": 162}
    assert len(imported.pairs) == 296
    subjects = imported.images.set_index("image_id")["subject_id"]
    tested = set(subjects[[*imported.pairs["moving"], *imported.pairs["fixed"]]])
    trained = set(imported.images.loc[imported.images["split"] == "train", "subject_id"])
    assert (len(tested), len(tested & trained)) == (88, 32)
    assert "Images of both test and training lists: 7; their split is train." in sentences


def test_every_column(lists):
    paths, root = lists
    sentences = []
    imported = import_oai_split(paths, sentences.append, root)
    anna, bert, again = imported.images.to_dict("records")
    assert anna == {
        "image_id": "11_20040927_left",
        "subject_id": "11",
        "side": "left",
        "split": "train",
        "image": f"a/b/{ANNA}_image.nii.gz",
        "label": f"labels/{ANNA}_label_all.nii.gz",
        "visit": "20040927",
        "barcode": "016610000001",
    }
    assert {bert["image_id"], again["image_id"]} == BOTH
    # Another label of the scan than the list names; and an image that is nowhere.
    assert bert["label"] == f"{BERT}_prediction.nii.gz"
    assert (again["image"], again["label"]) == (f"{AGAIN}_image.nii.gz", "")
    assert (bert["split"], again["split"]) == ("test", "train")
    name = again["image_id"]
    assert imported.others["missing.tsv"].values.tolist() == [
        [name, "image", f"{AGAIN}_image.nii.gz"],
        [name, "label", f"{AGAIN}_label_all.nii.gz"],
    ]
    counts, both, differ, missing = sentences
    assert counts.startswith("Pairs that stand again: 1; images paired with themselves: 1; they are left out")
    assert "training lists: 2;" in both and "other files in another list: 2;" in differ
    assert (
        "1 images and 1 labels" in missing and f"({AGAIN}_image.nii.gz, {AGAIN}_label_all.nii.gz)" in missing
    )


def test_the_other_direction_is_another_pair_and_repeats_are_kept_as_published(lists):
    paths, root = lists
    anna, bert, again = "11_20040927_left", "22_20050101_right_016610000002", "22_20050101_right_016610000003"
    own = [[anna, bert], [bert, again], [bert, anna]]
    assert import_oai_split(paths, root=root).pairs.values.tolist() == own
    assert import_oai_split(paths, root=root, as_published=True).pairs.values.tolist() == [
        *([*pair, ""] for pair in own),
        [anna, bert, "published"],
        [bert, bert, "published"],
    ]


def test_without_a_test_list_every_lists_pairs_count(lists):
    paths, root = lists
    assert len(import_oai_split(paths[:1], root=root).pairs) == 1


def test_files_of_an_archive(lists, tmp_path):
    paths, root = lists
    (root / "dicom").mkdir()
    header = "image_id\tsubject_id\tside\tsplit\tvisit\tbarcode\timage\tlabel\n"
    rows = [
        "x\t11\tleft\t\t20040927\t\tdicom\t\n",
        f"y\t22\tright\t\t20050101\t10000003\t{BERT}_image.nii.gz\tlabels/{ANNA}_aaa.nii.gz\n",
        "z\t22\tright\t\t20060101\t10000002\tdicom\t\n",
    ]
    archive = tmp_path / "archive.tsv"
    archive.write_text(header + "".join(rows))
    imported = import_oai_split(paths, root=root, images=archive)
    anna, bert, again = imported.images[["image", "label"]].values.tolist()
    assert anna == ["dicom", ""]  # the only scan of that knee and day, whatever its barcode
    assert again == [f"{BERT}_image.nii.gz", f"labels/{ANNA}_aaa.nii.gz"]
    assert bert == [
        f"{BERT}_image.nii.gz",
        "",
    ]  # missing: this is its published name, not the file below root
    assert imported.others["missing.tsv"]["file"].tolist() == ["label", "image", "label"]
    archive.write_text((header + "".join(rows)).replace("visit", "day"))
    with pytest.raises(UserError, match="has no column visit"):
        import_oai_split(paths, root=root, images=archive)


def test_an_archive_s_table_that_starts_from_another_folder(lists, tmp_path):
    paths, root = lists
    archive = tmp_path / "archive.tsv"
    archive.write_text(
        "image_id\tsubject_id\tside\tsplit\tvisit\tbarcode\timage\tlabel\n"
        f"x\t11\tleft\t\t20040927\t\tb/{ANNA}_image.nii.gz\t\n"
    )
    assert (
        import_oai_split(paths, root=root / "a", images=archive).images["image"][0]
        == f"b/{ANNA}_image.nii.gz"
    )
    with pytest.raises(
        UserError, match=r"none of the images in .*archive.tsv is below .*root; --root is the folder"
    ):
        import_oai_split(paths, root=root, images=archive)


def test_barcodes_in_every_form():
    assert {full_barcode(short) for short in ("016610469409", "16610469409", "10469409")} == {"016610469409"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n", "lists no pair"),
        ("\x1f\udc8b\x08", "line 1 has 1 paths"),
        (line(ANNA, BERT) + "\n" + line(ANNA, BERT).rsplit(maxsplit=1)[0], "line 2 has 3 paths and not 4"),
        ("\n" + line("knee", BERT), "line 2: 'knee_image.nii.gz' is not SUBJECT_"),
        (line("11_2004_SAG_LEFT_1", BERT), "line 1: '11_2004_SAG_LEFT_1_image.nii.gz' is not"),
        (
            " ".join(line(ANNA, BERT).split()[i] for i in (0, 1, 3, 2)),
            "line 1: .* is not named as a label of",
        ),
        (
            " ".join(line(ANNA, BERT).split()[i] for i in (0, 2, 1, 3)),
            "line 1: '.*_image.nii.gz' is not named as a label of",
        ),
    ],
)
def test_a_list_that_cannot_be_read_is_one_sentence(tmp_path, text, problem):
    (tmp_path / "list.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=problem) as error:
        read_list(tmp_path / "list.txt")
    assert str(error.value).startswith(str(tmp_path / "list.txt")) and str(error.value).endswith(".")


def test_a_root_that_is_not_there(lists, tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist; name the folder"):
        import_oai_split(lists[0], root=tmp_path / "nowhere")


def test_another_import_keeps_what_is_there(lists, tmp_path):
    """A list of one split after that of the other, an image under another name, and a file that is found later."""
    paths, root = lists
    output = tmp_path / "tables"

    def run(paths):
        return import_tables(lambda: import_oai_split(paths, root=root), output)

    run(paths[1:])
    table = (output / "images.tsv").read_text().replace("11_20040927_left\t", "anna\t")
    (output / "images.tsv").write_text(table)
    (output / "pairs.tsv").write_text((output / "pairs.tsv").read_text().replace("11_20040927_left", "anna"))
    before = {path: path.read_bytes() for path in output.iterdir()}
    (root / f"{AGAIN}_label_all.nii.gz").touch()
    added = run(paths)
    assert "anna" in set(added.images["image_id"]) and (added.new_images, added.new_pairs) == (0, 0)
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    differing, stale = added.sentences
    # The training list has two of the images, whose split is that of the tests in the table.
    assert differing.startswith(
        "2 images with another image, label or split in images.tsv than was found (anna, "
    )
    assert stale.startswith(f"{output / 'missing.tsv'} keeps 1 row")
