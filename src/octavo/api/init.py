"""`octavo init`: a recipe for a user's own images and model, with comments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Unpack

from octavo.base.errors import ModelError, OctavoError
from octavo.base.files import check_file, write_text
from octavo.data.open import open_dataset
from octavo.recipe.commented import commented
from octavo.recipe.options import InputFields, Inputs, inputs_of
from octavo.recipe.own import own_recipe


def init(
    model: Path | str | None,
    data: Path | str | Inputs,
    out: Path | str | None = None,
    *,
    method: Literal["ptq", "qat"] = "ptq",
    force: bool = False,
    **fields: Unpack[InputFields],
) -> Path:
    """Writes a recipe with comments: what is set, and every other key with its meaning and default.

    Args:
        model: A trained model: a file or a SavedModel folder. None for a recipe that trains a float baseline.
        data: A folder, archive or `.npz` of images.
        out: The YAML file to write; the name of the model, or of the images, when left out.
        method: Post-training quantization, or quantization-aware training after it.
        force: Replace a file that exists.
        **fields: Fields of `Inputs`, given one by one.

    Returns:
        The file that was written.

    Raises:
        OctavoError: There is no such model, the images cannot be read, or the file exists.

    Example:
        >>> import octavo
        >>> path = octavo.init("float.tflite", "photos", scale=(-1, 1))
        >>> path.name, octavo.load_recipe(path).preprocess.scale
        ('float.yaml', (-1.0, 1.0))
    """
    inputs = inputs_of(data, fields)
    if model is not None and not Path(model).exists():
        raise ModelError(f"There is no model '{model}'.", "Give a .keras, .h5, .tflite or .onnx file, or a SavedModel.")
    recipe = own_recipe(None if model is None else Path(model), inputs, {"quantize": {"method": method}})
    open_dataset("path", inputs.path)
    path = Path(f"{recipe.name}.yaml") if out is None else Path(out)
    if path.exists() and not force:
        raise OctavoError(f"'{path}' exists.", "Set `out` to another path, or `force` to replace it.")
    check_file(path)
    write_text(path, commented(recipe))
    return path
