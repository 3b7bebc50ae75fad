"""The bill of materials of a deployed folder, `sbom.json`: what made the model and the folder, and what lies in it.

CycloneDX 1.6. It holds no date and no random number, so that equal folders have equal bills.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from octavo import __version__
from octavo.base.provenance import Provenance, versions
from octavo.deployment.litertjs import Package

# The packages that take part in making a folder of a model that exists.
_DEPLOYED_BY = ("ai-edge-litert", "numpy", "pillow")


def bill(digest: str, made: Provenance | None, vendored: tuple[Package, ...] = ()) -> str:
    """The bill as JSON.

    Args:
        digest: The SHA-256 of `model.tflite`.
        made: The manifest of the run that made the model, or None if it is unknown what did.
        vendored: The npm packages whose files lie in the folder.

    Example:
        >>> value = json.loads(bill("ab" * 32, None))
        >>> value["bomFormat"], value["metadata"]["component"]["name"], value["components"]
        ('CycloneDX', 'model.tflite', [])
    """
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model.tflite",
        "name": "model.tflite",
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    deployed = [_octavo(__version__, None), *_python_packages(versions(_DEPLOYED_BY))]
    makers = [] if made is None else _makers(made)
    value = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": deployed}, "component": model},
        # What made the model is not in the folder; what is taken from npm is.
        "components": [*({**each, "scope": "excluded"} for each in makers), *map(_npm_package, vendored)],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _makers(made: Provenance) -> list[dict[str, Any]]:
    python = {"type": "platform", "bom-ref": f"python@{made.machine.python}", "name": "python"}
    return [
        _octavo(made.octavo, made.commit),
        {**python, "version": made.machine.python},
        *_python_packages(made.versions),
    ]


def _octavo(version: str, commit: str | None) -> dict[str, Any]:
    about = {"type": "application", "bom-ref": f"octavo@{version}", "name": "octavo", "version": version}
    return about if commit is None else {**about, "properties": [{"name": "octavo:commit", "value": commit}]}


def _python_packages(found: Mapping[str, str]) -> list[dict[str, Any]]:
    return [_package("pypi", name, version) for name, version in sorted(found.items())]


def _package(kind: str, name: str, version: str) -> dict[str, Any]:
    address = f"pkg:{kind}/{quote(name, safe='/')}@{quote(version)}"
    return {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}


def _npm_package(package: Package) -> dict[str, Any]:
    archive = base64.b64decode(package.integrity).hex()
    return {
        **_package("npm", package.name, package.version),
        "scope": "required",
        "hashes": [{"alg": "SHA-512", "content": archive}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
