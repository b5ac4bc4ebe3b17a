"""The files that a LiteRT model carries: an archive behind the model, as LiteRT's own metadata libraries have it."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile, ZipInfo, is_zipfile

from mobilevit_tools.data.contract import MAX_CONTRACT_BYTES, METADATA_KEY, Contract
from mobilevit_tools.errors import BadInputError

CONTRACT_FILE = f"{METADATA_KEY}.json"
LABELS_FILE = "labels.txt"


def add_files(path: Path, contract: Contract) -> None:
    """Append the contract, and the labels with one a line, to the model at ``path``; the same bytes every time."""
    with ZipFile(path, "a") as archive:
        archive.writestr(ZipInfo(CONTRACT_FILE), contract.to_json())
        if contract.labels is not None:
            archive.writestr(ZipInfo(LABELS_FILE), "".join(f"{label}\n" for label in contract.labels))


def read_contract(path: Path) -> str | None:
    """Return the contract that follows a model, as text; None where none does.

    Raises:
        BadInputError: It is damaged, or larger than any contract is.
    """
    if not is_zipfile(path):
        return None  # nothing follows it
    try:
        with ZipFile(path) as archive:
            found = archive.NameToInfo.get(CONTRACT_FILE)
            if found is None:
                return None
            with archive.open(found) as file:
                text = file.read(MAX_CONTRACT_BYTES + 1).decode()
    except Exception as error:  # it, and what unpacks for it, raise whatever a damaged archive leads them to
        raise BadInputError(f"The contract of {path} is damaged.", code="unloadable_artifact") from error
    if len(text) > MAX_CONTRACT_BYTES:
        raise BadInputError(f"The artifact's contract is larger than {MAX_CONTRACT_BYTES} bytes.")
    return text
