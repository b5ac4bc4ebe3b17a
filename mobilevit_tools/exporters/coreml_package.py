"""Write an ``.mlpackage`` whose bytes depend on the model alone.

coremltools draws the identifiers of a package's items at random, notes the day of the conversion, writes the metadata's
map in the order of a hash table that is seeded anew in every process, and adds a file for its debugger. The format asks
for none of this: identifiers need only be unique within their package, and a map has no order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

import coremltools as ct
from coremltools.proto import Model_pb2

if TYPE_CHECKING:
    from pathlib import Path

CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"
DEBUG_FILE = "executorch_debug_handle_mapping.json"


def save_package(package: ct.models.MLModel, path: Path) -> None:
    """Write ``package`` to ``path``; the same model gives the same bytes, in every process and on every day."""
    package.user_defined_metadata.pop(CONVERSION_DATE, None)
    package.save(str(path))
    (path / DEBUG_FILE).unlink(missing_ok=True)
    _settle_identifiers(path / "Manifest.json")
    for file in sorted(path.rglob("*.mlmodel")):
        model = Model_pb2.Model()
        model.ParseFromString(file.read_bytes())
        file.write_bytes(model.SerializeToString(deterministic=True))


def _settle_identifiers(manifest: Path) -> None:
    """Name every item of the package after its path within it."""
    described = json.loads(manifest.read_bytes())
    items = described["itemInfoEntries"]
    names = {old: str(uuid5(NAMESPACE_URL, item["path"])) for old, item in items.items()}
    described["itemInfoEntries"] = {names[old]: items[old] for old in sorted(items, key=names.__getitem__)}
    described["rootModelIdentifier"] = names[described["rootModelIdentifier"]]
    manifest.write_text(json.dumps(described, indent=4) + "\n", encoding="utf-8")
