"""Each sentence follows from figures: change the figure, and the sentence changes or goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rundir import MakeRun, make_evaluation, trained

from octavo.reports.facts import read
from octavo.reports.finding import Finding
from octavo.reports.findings import findings
from octavo.reports.tables import tables


def _found(make_run: MakeRun, topic: str = "", **changes: Any) -> list[Finding]:
    return [one for one in findings(read(make_run(**changes))) if topic in ("", one.topic)]


def _said(make_run: MakeRun, topic: str = "", **changes: Any) -> str:
    return " ".join(finding.text for finding in _found(make_run, topic, **changes))


def _evaluation(**numbers: int) -> Any:
    return lambda value: value.update(make_evaluation(**numbers))


def test_every_sentence_has_a_figure(make_run: MakeRun) -> None:
    for finding in _found(make_run):
        assert any(sign.isdigit() for sign in finding.text), finding
        for name, figure in finding.figures.items():
            assert isinstance(figure, (int, float)), name


def test_the_verdict_has_three_values(make_run: MakeRun) -> None:
    assert "contains −2 points, so non-inferiority at that margin is not shown" in _said(make_run)
    good = _evaluation(each=2000, lost=6, gained=3)
    said = _said(make_run, evaluation=good)
    assert "lies above −2 points, so int8 is non-inferior" in said
    assert "Ship int8.tflite" in said
    bad = _evaluation(each=2000, lost=300, gained=3)
    said = _said(make_run, evaluation=bad)
    assert "lies below −2 points, so int8 is inferior" in said
    assert "Do not replace float by int8 yet" in said


def test_the_outputs_of_int8_are_or_are_not_those_of_float(make_run: MakeRun) -> None:
    said = _said(make_run, "summary")
    assert "are those of the float model on 32 calibration images: 31.2 dB and the same answer for 96.88%." in said

    def two(value: Any) -> None:
        boxes, scores = dict(value["outputs"][0]), dict(value["outputs"][0])
        boxes |= {"output": "boxes", "sqnr": 4.25, "agreement": None}
        value |= {"hold": False, "outputs": [scores, boxes], "tensor": ["LOG", "power"]}

    (found,) = (one for one in _found(make_run, "summary", answers=two) if "outputs of int8" in one.text)
    assert found.tone == "warn" and found.figures == {"sqnr": 4.25}
    assert "are not those of the float model on 32 calibration images: 4.2 dB ('boxes', the worst of 2)." in found.text
    assert "Most error is first added by LOG 'power'." in found.text
    table = tables(read(make_run(answers=two)))["answers"]
    assert [row[0] for row in table.rows] == ["Identity", "boxes"] and [row[-1] for row in table.rows] == ["yes", "no"]
    assert "outputs of int8" not in _said(make_run, "summary", answers=None)


def test_accuracy(make_run: MakeRun) -> None:
    said = _said(make_run, "accuracy")
    assert "2 right answers wrong and 1 wrong answer right" in said
    assert "95.00% of the images; 3 answers differ" in said
    assert "1 class of 3 lost 2 right answers. The largest losses: '<script>alert(1)</script>' (18 to 16 of 20)" in said
    assert "None of 60 images changed" in _said(make_run, "accuracy", evaluation=_evaluation(lost=0, gained=0))


def test_sizes_blame_the_optimizer_only_for_what_it_takes(make_run: MakeRun) -> None:
    said = _said(make_run, "size")
    assert "5.00 MB, of which 2.50 MB are optimizer state" in said
    assert "would seem 5.00× smaller" in said
    assert "30.00% of the int8 file are not weights: 200 kB are scales" in said

    def same(size: Any) -> None:
        size["files"]["keras_with_optimizer"] = size["files"]["keras"]

    said = _said(make_run, "size", size=same)
    assert "optimizer" not in said
    assert "The .keras file has 2.50 MB, 2.50× the size of the int8 file" in said


def test_speed_both_ways(make_run: MakeRun) -> None:
    said = _said(make_run, deployment=None)
    assert "Int8 is 2.00× faster" in said and "Measure latency on the target device: 1.00 ms" in said

    def slow(evaluation: Any) -> None:
        evaluation["models"]["int8"]["latency"]["median_ms"] = 4.0

    said = _said(make_run, evaluation=slow, deployment=None)
    assert "Int8 is 2.00× slower" in said
    assert "saves storage, not time (4.00 ms against 2.00 ms)" in said


def test_outliers(make_run: MakeRun) -> None:
    # The third of six ranges goes to 24 while 99.8% of its values lie in [-0.4, 5.6]: 6.0 / 24.5.
    said = _said(make_run)
    assert "Outliers set 1 activation range of 6" in said
    assert "'net/block_2/relu', where they need 24.49% of −0.5 to 24" in said
    assert "Another observer: 1 activation range" in said

    def tame(distributions: Any) -> None:
        del distributions["activations"][2]

    said = _said(make_run, distributions=tame)
    assert "No activation range is set by outliers: even the loosest of 5" in said
    assert "Another observer" not in said


def test_steps_are_proposed_only_where_something_was_lost(make_run: MakeRun) -> None:
    said = _said(make_run, "next")
    assert "Cross-layer equalization: in 'net/block_3/depthwise' the largest channel's weights are 40 times" in said
    assert "More calibration images: only 100" in said
    assert "Add calibration images of '<script>" in said
    gain = _evaluation(lost=0, gained=2)
    said = _said(make_run, "next", evaluation=gain)
    for step in ("equalization", "alibration images", "observer"):
        assert step not in said
    assert "More calibration images" not in _said(make_run, "next", ranges=lambda ranges: ranges.update(images=500))


def test_noise_loss_and_gain(make_run: MakeRun) -> None:
    found = _found(make_run, "next")[0]
    assert "within the noise" in found.text
    # Half of the interval is 8.2 points and the gap 1.67, so 60 images times (8.2 / 1.67) squared.
    low, high, value = (found.figures[key] for key in ("low", "high", "value"))
    assert found.figures["images_needed"] == pytest.approx(60 * ((high - low) / 2 / value) ** 2)
    assert found.figures["images_needed"] > 60
    assert "The gap is real" in _said(make_run, "next", evaluation=_evaluation(each=100, lost=30, gained=0))
    assert "no gap to reduce: int8 gained" in _said(
        make_run, "next", evaluation=_evaluation(each=200, lost=0, gained=15)
    )
    none = _found(make_run, "next", evaluation=_evaluation(lost=0, gained=0))[0]
    assert "Four times as many could show" in none.text


def test_training(make_run: MakeRun) -> None:
    said = _said(make_run, "next")
    assert "More training images or stronger augmentation" in said  # 98% of the training images, 90% of the test images
    assert "a gap of +8.00 points. Quantization changed accuracy by −1.67 points" in said
    assert "training accuracy still rose by +4.00 points in the last of 2" in said

    def flat(history: Any) -> None:
        for row in history["epochs"]:
            row["accuracy"] = 0.92

    said = _said(make_run, "next", history=flat)
    assert "More training images" not in said
    assert "More epochs" not in said


def test_validation_speaks_before_training_does(make_run: MakeRun) -> None:
    def held(*values: float) -> Any:
        def change(history: Any) -> None:
            for row, value in zip(history["epochs"], values, strict=True):
                row |= {"val_accuracy": value, "val_loss": 1.0}

        return change

    said = _said(make_run, "next", history=held(0.90, 0.86))
    assert "More epochs" not in said
    assert "Early stopping: validation accuracy was 90.00% after epoch 1 and 86.00% at the end" in said
    assert "validation accuracy still rose by +2.00" in _said(make_run, "next", history=held(0.90, 0.92))


def test_the_weakest_class_has_images(make_run: MakeRun) -> None:
    def weak(evaluation: Any) -> None:
        for model in evaluation["models"].values():
            rows = model["table"]["per_class"]
            rows[1] |= {"correct": 10, "recall": 0.5}
            rows[2] |= {"images": 0, "correct": 0, "recall": 0.0}
            model["table"]["confusion"][1] = [3, 10, 7]

    said = _said(make_run, "next", evaluation=weak)
    assert "the float model recognizes 50.00% of its 20 images" in said
    assert "It is mistaken for 'plain' 7 times" in said


def test_method(make_run: MakeRun) -> None:
    def change(proof: Any) -> None:
        proof["ops"]["QUANTIZE"] = 2
        proof["widened"] = [{"tensor": "b", "channels": 3}, {"tensor": "c", "channels": 1}]

    said = _said(make_run, "quantization", proof=change)
    assert "2 QUANTIZE ops of 6 remain" in said
    assert "4 weight channels in 2 ops" in said


def test_pixels_as_codes_follow_scale_and_zero_point(make_run: MakeRun) -> None:
    assert "pixel 0 becomes −128 and pixel 255 becomes 126" in _said(make_run, "recommendation")

    def change(proof: Any) -> None:
        proof["input"] |= {"scale": 2 / 255, "zero_point": 0}

    assert "pixel 0 becomes −127 and pixel 255 becomes 127" in _said(make_run, "recommendation", proof=change)


def test_training_for_int8_is_weighed_against_post_training_and_a_control(make_run: MakeRun) -> None:
    def by_training(recipe: Any) -> None:
        recipe["quantize"] = {"method": "qat"}

    def noise(value: Any) -> None:
        trained(value)
        for pair in value["pairs"]:
            pair["difference"] = {"value": 0.001, "low": -0.05, "high": 0.05}
            pair["non_inferior"] = False

    assert "aware training changes" not in _said(make_run)
    # A run that was trained for int8 once, and is not now.
    assert "aware training changes" not in _said(make_run, evaluation=trained)
    said = _said(make_run, "summary", recipe=by_training, evaluation=trained)
    assert "changes int8's accuracy from 80.00% (post-training) to 88.33%, that is by +65.00 points" in said
    assert "(the control), reaches 95.00%. The difference of int8 from it is −10.00 points" in said
    assert "non-inferiority at the margin of 2 points is not shown" in said
    said = _said(make_run, "summary", recipe=by_training, evaluation=noise)
    assert "which is within the noise" in said


def test_training_that_was_not_needed_is_named(make_run: MakeRun) -> None:
    def by_training(recipe: Any) -> None:
        recipe["quantize"] = {"method": "qat"}

    def differences(without: tuple[float, float, float], gained: tuple[float, float, float]) -> Callable[[Any], None]:
        """Post-training quantization against float, and training against it."""

        def change(value: Any) -> None:
            trained(value)
            for before, after, ends in (("float", "ptq", without), ("ptq", "int8", gained)):
                pair = next(each for each in value["pairs"] if (each["before"], each["after"]) == (before, after))
                pair["difference"] = dict(zip(("value", "low", "high"), ends, strict=True))
                pair["non_inferior"] = ends[1] > -pair["margin"]

        return change

    def said(without: tuple[float, float, float], gained: tuple[float, float, float]) -> str:
        return _said(make_run, "recommendation", recipe=by_training, evaluation=differences(without, gained))

    text = said((-0.001, -0.004, 0.002), (0.001, -0.002, 0.004))
    assert "Training for int8 was not needed: post-training quantization, which trains nothing, changes" in text
    assert "by −0.10 points" in text
    assert "`ptq.tflite`" in text
    assert "was not needed" not in said((-0.01, -0.03, 0.01), (0.001, -0.002, 0.004))
    assert "was not needed" not in said((-0.001, -0.004, 0.002), (0.003, 0.001, 0.005))
