"""Checkpoints on the Hugging Face Hub: ``hf://owner/repo/file``, or ``hf://owner/repo@revision/file``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from mobilevit_tools.errors import BadInputError, MissingDependencyError, first_line

SCHEME = "hf://"
NO_FILE = "hub_no_file"
NOT_IN_CACHE = "hub_unreachable"
"""The code of the error that says of a repository, which is there, that it lacks a file."""
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?/(?P<file>[^\\\0]+)", re.ASCII)


def download(address: str) -> Path:
    """Fetch one file from the hub, unless its cache has it, and return its path.

    Raises:
        BadInputError: The address is malformed, there is no such file, or the hub cannot be reached.
        MissingDependencyError: ``huggingface_hub`` is not installed.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or ".." in PurePosixPath(match["file"]).parts or match["file"].startswith("/"):
        raise BadInputError(
            f"{address!r} is not a file address on the Hugging Face Hub.",
            hint="Write hf://owner/repo/file, or hf://owner/repo@revision/file.",
            code="hub_address",
        )
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError(
            "Checkpoints on the Hugging Face Hub need huggingface_hub, which is not installed.",
            hint="pip install 'mobilevit-tools[hub]'",
        )
    return _fetch(address, match["repo"], match["file"], match["revision"])


def first_of(repo: str, files: Sequence[str]) -> tuple[str, Path] | None:
    """Fetch the first of some files that a repository has.

    Args:
        repo: ``owner/repo`` or ``owner/repo@revision``.
        files: Names of files, the better first.

    Returns:
        Its address and its path; None where there is none of them.

    Raises:
        BadInputError: There is no such repository, or the hub cannot be reached.
        MissingDependencyError: ``huggingface_hub`` is not installed.
    """
    for file in files:
        address = f"{SCHEME}{repo}/{file}"
        try:
            return address, download(address)
        except BadInputError as error:
            if error.error_code != NO_FILE:
                raise
    return None


def _fetch(address: str, repo: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except errors.GatedRepoError as error:
        hint = "Accept its terms on its page and log in with `hf auth login`."
        raise _unavailable(address, f"{repo} is gated", hint) from error
    except errors.RepositoryNotFoundError as error:
        reason = f"there is no repository {repo}, or it is private"
        raise _unavailable(address, reason, "Check the name; `hf auth login` opens private repositories.") from error
    except errors.RevisionNotFoundError as error:
        raise _unavailable(address, f"{repo} has no revision {revision}") from error
    except errors.LocalEntryNotFoundError as error:
        reason = "the Hub is not reachable, and the file is not cached"
        hint = "Check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or give a file with --checkpoint."
        raise _unavailable(address, reason, hint, code=NOT_IN_CACHE) from error
    except errors.EntryNotFoundError as error:
        raise _unavailable(address, f"{repo} has no file {file}", code=NO_FILE) from error
    except (errors.HFValidationError, OSError) as error:
        raise _unavailable(address, first_line(error).rstrip(".")) from error
    except Exception as error:  # the transport's own classes are neither OSErrors nor huggingface_hub's
        hint = "Check the network, the proxy and HF_ENDPOINT, then try again."
        raise _unavailable(address, first_line(error).rstrip("."), hint) from error


def _unavailable(address: str, reason: str, hint: str | None = None, code: str = "hub_unavailable") -> BadInputError:
    return BadInputError(f"{address} cannot be downloaded: {reason}.", hint=hint, code=code)
