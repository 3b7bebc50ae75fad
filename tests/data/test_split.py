from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import tree, write_folder

from octavo.base.errors import DataError
from octavo.data import Dataset, ImageSet, OctavoWarning, Split, calibration, draw, draw_test, open_dataset, stratified
from octavo.data.dataset import ArrayStore
from octavo.data.split import check_trainable, draw_any, draw_calibration, draw_training, held_out, usual_validation
from octavo.recipe.schema import DataRecipe

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=200)


@given(label_lists, st.data(), st.integers(0, 1 << 40))
def test_stratified_is_exact_proportional_and_deterministic(labels, data, seed):
    labels = np.array(labels)
    count = data.draw(st.integers(0, len(labels)))
    chosen = stratified(labels, count, seed)
    assert chosen.dtype == np.int64 and len(chosen) == count
    assert np.all(np.diff(chosen) > 0)  # Ascending, so without repetition.
    share = np.bincount(labels) * count / len(labels)
    assert np.all(np.abs(np.bincount(labels[chosen], minlength=len(share)) - share) < 1)
    np.testing.assert_array_equal(chosen, stratified(labels, count, seed))


def test_stratified_depends_on_the_seed_and_is_not_the_head():
    labels = np.arange(1000) % 10
    first, second = stratified(labels, 100, 0), stratified(labels, 100, 1)
    assert not np.array_equal(first, second) and first.max() > 900


def test_ties_do_not_favour_the_first_classes():
    labels = np.arange(100) % 10
    counts = sum(np.bincount(labels[stratified(labels, 5, seed)], minlength=10) for seed in range(200))
    assert counts.min() > 60 and counts.sum() == 1000


def test_every_image_of_a_class_is_equally_likely():
    counts = sum(np.bincount(stratified(np.zeros(10, int), 3, seed), minlength=10) for seed in range(1000))
    assert counts.min() > 240 and counts.max() < 360


@pytest.mark.parametrize("count", [-1, 4])
def test_stratified_refuses_impossible_counts(count):
    with pytest.raises(ValueError, match="cannot choose"):
        stratified(np.array([0, 1, 1]), count, 0)


def dataset(classes=3, seed=0, **sizes):
    names = tuple(f"c{number}" for number in range(classes))
    splits = {}
    for key, size in sizes.items():
        seed += 1
        pixels = np.random.default_rng(seed).integers(0, 256, (size, 4, 4, 3), np.uint8)
        splits[key] = Split(
            ArrayStore(pixels),
            np.arange(size),
            np.arange(size) % classes,
            names,
            tuple(f"{key}{k}" for k in range(size)),
        )
    return Dataset("name", names, splits, "'source'")


def test_draw_from_train_and_test():
    splits = draw(dataset(train=90, test=30), DataRecipe(train=30, validation=15, test=12), 0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 15, 12)
    assert all(name.startswith("train") for name in splits.train.ids + splits.validation.ids)
    assert all(name.startswith("test") for name in splits.test.ids)
    assert not set(splits.train.ids) & set(splits.validation.ids)
    assert np.bincount(splits.train.labels).tolist() == [10, 10, 10]


@pytest.mark.parametrize("key", ["all", "train"])
def test_draw_carves_the_test_images_out_of_a_source_without_any(key):
    splits = draw(dataset(**{key: 90}), DataRecipe(validation=20, test=30), 0)
    ids = [*splits.train.ids, *splits.validation.ids, *splits.test.ids]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (40, 20, 30)
    assert len(set(ids)) == 90
    assert len(draw(dataset(**{key: 90}), DataRecipe(), 0).test) == 18


def test_everything_is_taken_when_no_number_is_set():
    splits = draw(dataset(train=90, test=30), DataRecipe(), 0)
    assert len(splits.train) == 90 and splits.validation is None and len(splits.test) == 30


def test_draw_is_deterministic_and_validation_changes_neither_training_nor_test_images():
    one = draw(dataset(all=90), DataRecipe(train=30, validation=15, test=12), 3)
    same = draw(dataset(all=90), DataRecipe(train=30, validation=15, test=12), 3)
    without = draw(dataset(all=90), DataRecipe(train=30, test=12), 3)
    other = draw(dataset(all=90), DataRecipe(train=30, test=12), 4)
    assert one.train.digest() == same.train.digest() == without.train.digest() != other.train.digest()
    assert one.test.digest() == same.test.digest() == without.test.digest() != other.test.digest()


@pytest.mark.parametrize(
    ("sizes", "recipe", "message"),
    [
        ({"train": 90, "test": 30}, {"train": 91}, "91 training and 0 validation images were asked for.*has 90"),
        ({"train": 90, "test": 30}, {"train": 80, "validation": 11}, "80 training and 11 validation"),
        ({"train": 90, "test": 30}, {"validation": 90}, "Some training and 90 validation"),
        ({"train": 90, "test": 30}, {"test": 31}, "31 test images were asked for.*has 30"),
        ({"all": 90}, {"train": 80, "test": 20}, "has 70 for both after 20 test images"),
        ({"all": 90}, {"test": 90}, "has 0 for both"),
        ({"test": 30}, {}, "only test images"),
        ({"train": 90, "test": 30}, {"train": 2}, "1 of 3 classes have none of the 2 training images"),
    ],
)
def test_too_few_images(sizes, recipe, message):
    with pytest.raises(DataError, match=message):
        check_trainable(draw(dataset(**sizes), DataRecipe(**recipe), 0).train, "here")


def test_one_class():
    with pytest.raises(DataError, match="one class only, 'c0'"):
        check_trainable(draw(dataset(classes=1, train=9, test=3), DataRecipe(), 0).train, "here")


def test_a_test_class_without_training_images(tmp_path):
    files = {name: png for name, png in tree(classes="abc").items() if not name.startswith("train/b")}
    with pytest.raises(DataError, match="1 of 3 classes have none of the 8 training images, such as 'b'"):
        check_trainable(draw(open_dataset("path", write_folder(tmp_path / "x", files)), DataRecipe(), 0).train, "here")


def test_identical_images_in_training_and_test_are_counted_and_kept(tmp_path):
    files = tree()
    files["test/a/0000.png"] = files["train/b/0002.png"]
    files["test/b/0003.png"] = files["train/a/0001.png"]
    source = open_dataset("path", write_folder(tmp_path / "x", files))
    with pytest.warns(OctavoWarning, match="2 of 8 test images are identical") as caught:
        splits = draw(source, DataRecipe(), 0)
    assert "test/a/0000.png = train/b/0002.png" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(splits.train) == len(splits.test) == 8
    with pytest.warns(OctavoWarning, match="identical"):
        draw(source, DataRecipe(validation=6), 0)  # Validation images count as known, too.


def test_corrupt_training_and_test_images_give_one_warning(tmp_path):
    files = tree()
    files["test/a/0000.png"] = files["train/b/0002.png"] = b"x"
    with pytest.warns(OctavoWarning) as caught:
        splits = draw(open_dataset("path", write_folder(tmp_path / "x", files)), DataRecipe(validation=2), 0)
    assert len(caught) == 1 and len(splits.test) == 7 and len(splits.train) + len(splits.validation) == 7


def images(labels):
    labels = None if labels is None else np.array(labels)
    return ImageSet(np.zeros((12, 4, 4, 3), np.uint8), labels, ("a", "b"), tuple("abcdefghijkl"))


def test_calibration_is_stratified():
    chosen = calibration(images([0, 1, 1] * 4), 6, 0)
    assert np.bincount(chosen.labels).tolist() == [2, 4]
    assert chosen.ids == calibration(images([0, 1, 1] * 4), 6, 0).ids != calibration(images([0, 1, 1] * 4), 6, 1).ids


def test_unlabelled_calibration_is_seeded():
    chosen = calibration(images(None), 6, 0)
    assert len(set(chosen.ids)) == 6 and chosen.ids == calibration(images(None), 6, 0).ids


@pytest.mark.parametrize("count", [0, 13])
def test_impossible_calibration_counts(count):
    with pytest.raises(DataError, match=f"{count} calibration images .* there are 12"):
        calibration(images(None), count, 0)


def test_draw_test():
    assert len(draw_test(dataset(test=9), None, 0)) == 9
    assert len(draw_test(dataset(train=9, test=6), 3, 0)) == 3
    assert draw_test(dataset(train=9, validation=6), None, 0).ids[0] == "validation0"
    with pytest.raises(DataError, match="11 test images were asked for"):
        draw_test(dataset(train=50), 11, 0)
    with pytest.raises(DataError, match="10 test images were asked for"):
        draw_test(dataset(test=9), 10, 0)


@pytest.mark.parametrize("key", ["all", "train"])
@pytest.mark.parametrize("seed", [0, 7])
def test_what_calibrates_or_trains_never_evaluates_at_the_same_seed(key, seed):
    source = dataset(**{key: 90})
    tested = set(draw_test(source, None, seed).ids)
    train, chosen = draw_training(source, None, seed)
    calibrating = {name for choice in (0, 1) for name in draw_calibration(source, 72, seed, choice=choice).ids}
    assert len(tested) == 18 and calibrating == set(train.ids) | set(chosen.ids)
    assert not tested & calibrating and len(tested | calibrating) == 90
    # A run of the same seed holds out the same images.
    assert tested == set(draw(source, DataRecipe(), seed).test.ids)
    assert tested != set(draw_test(source, None, seed + 1).ids)
    said = held_out(source, seed)
    assert said is not None and f"18 of its 90 images (`seed={seed}`) are held out" in said


def test_validation_images_are_held_out():
    source = dataset(train=60, validation=12, test=6)
    train, chosen = draw_training(source, None, 0)
    assert (len(train), len(chosen), len(draw_training(source, 6, 0)[1])) == (60, 12, 6)
    assert all(name.startswith("validation") for name in chosen.ids)
    assert all(name.startswith("train") for name in draw_calibration(source, 60, 0).ids)
    splits = draw(source, DataRecipe(validation=9), 0)
    assert (len(splits.train), len(splits.test)) == (60, 6)
    assert all(name.startswith("validation") for name in splits.validation.ids)
    assert "12 validation images of 'source' choose between models. They" in held_out(source, 0)
    assert "and are evaluated too" in held_out(dataset(train=6, validation=3), 0)
    assert held_out(dataset(train=6, test=3), 0) is None
    with pytest.raises(DataError, match=r"13 validation images were asked for.*has 12"):
        draw_training(source, 13, 0)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [({"all": 100}, 8), ({"train": 100}, 8), ({"train": 100, "test": 20}, 10), ({"train": 60, "validation": 12}, 12)],
)
def test_a_run_sets_as_many_images_apart_as_training_alone(sizes, count):
    """`octavo qat --report` makes a run with this number."""
    source = dataset(**sizes)
    assert usual_validation(source, 0) == count == len(draw_training(source, None, 0)[1])
    splits = draw(source, DataRecipe(validation=count), 0)
    assert len(splits.validation) == count
    for name in source.splits:
        source.splits[name] = replace(source.splits[name], labels=None)
    assert usual_validation(source, 0) == 0 and draw_training(source, None, 0)[1] is None


def test_unlabelled_images_all_calibrate():
    source = dataset(all=9)
    source.splits["all"] = replace(source.splits["all"], labels=None)
    assert held_out(source, 0) is None
    assert len(draw_calibration(source, 9, 0)) == len(draw_any(source, 9, 0, 3)) == 9
    with pytest.raises(DataError, match="not labelled"):
        draw_test(source, None, 0)


def test_any_images_are_test_images_where_there_are_some():
    assert all(name.startswith("test") for name in draw_any(dataset(train=9, test=6), 6, 0, 3).ids)
    assert len(draw_any(dataset(all=9), None, 0, 3)) == 3
    with pytest.raises(DataError, match="10 images were asked for"):
        draw_any(dataset(all=9), 10, 0, 3)


def test_calibration_takes_what_there_is_and_says_so() -> None:
    images = ImageSet(np.zeros((60, 2, 2, 3), np.uint8), np.arange(60) % 3, ("a", "b", "c"), tuple(map(str, range(60))))
    with pytest.warns(OctavoWarning, match=r"There are 60 images .* usual 100.*`images` to 60"):
        assert len(calibration(images, None, 0)) == 60
    assert len(calibration(images, 60, 0)) == 60
    with pytest.raises(DataError, match=r"Set `calibrate\.images` to a number from 1 to 60"):
        calibration(images, 61, 0, "calibrate.images")
