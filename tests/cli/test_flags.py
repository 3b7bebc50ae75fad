from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from shell import octavo, refused
from typer.testing import CliRunner

from octavo.base.errors import OctavoError
from octavo.cli.options import Flags, flags_of_records, images, names, numbers
from octavo.recipe.options import Inputs, Quantization


def _run(function: Any, *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(flags_of_records(function))
    return CliRunner().invoke(app, list(arguments))


def test_a_command_gets_records_of_its_flags() -> None:
    got: list[Any] = []

    def command(inputs: Annotated[Inputs, images()], quantization: Quantization, more: int = 3) -> None:
        got.append((inputs, quantization, more))

    done = _run(
        command,
        *("--data", "photos", "--images", "20", "--scale", "0,1", "--tune", "equalize, bias", "--allow-float"),
        *("--precision", "CONV_2D #0=float", "--precision", "*=int4", "--more", "4"),
    )
    assert done.exit_code == 0, done.output
    precision = {"CONV_2D #0": "float", "*": "int4"}
    assert got == [
        (
            Inputs(Path("photos"), images=20, scale=(0.0, 1.0)),
            Quantization(tune=("equalize", "bias"), precision=precision, allow_float=True),  # type: ignore[arg-type]
            4,
        )
    ]
    assert _run(command).exit_code == 2


def test_a_command_can_have_other_defaults_and_fewer_flags() -> None:
    got: list[Any] = []

    def command(
        inputs: Annotated[Inputs, images("Which.", required=())],
        quantization: Annotated[Quantization, Flags(without=("precision",), default={"tune": ""})],
    ) -> None:
        got.append((inputs, quantization))

    assert _run(command).exit_code == 0
    assert got == [(Inputs(), Quantization(tune=()))]
    assert _run(command, "--precision", "*=int4").exit_code == 2
    assert "Which." in _run(command, "--help").output


def test_lists_in_one_flag() -> None:
    assert names("kernels", "xnnpack, builtin") == ["xnnpack", "builtin"]
    assert numbers("threads", "1,2") == [1, 2]
    for text in ("1,", "x", "-1", "1.5", ""):
        with pytest.raises(OctavoError, match=f"`threads` should be .* '{text}'"):
            numbers("threads", text)


def test_refusals_name_flags(tmp_path: Path) -> None:
    model, out = tmp_path / "none.tflite", tmp_path / "out.tflite"
    said = refused(octavo("quantize", model, "--data", tmp_path, "-o", out, "--tune", "adaquant"))
    assert "--tune, item 1 should be 'equalize'" in said and "'adaquant'" in said
    said = refused(octavo("quantize", model, "--data", tmp_path, "-o", out, "--max-drop", "1", "--observer", "mse"))
    assert "Leave out --observer" in said
    said = refused(octavo("quantize", model, "--data", tmp_path, "-o", out, "--precision", "float"))
    assert "expected OP=PRECISION" in said
