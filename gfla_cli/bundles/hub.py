"""Download bundles from the Hugging Face hub, checked against their hashes, and upload them. Imports no torch.

A model is named `hf:owner/name` or `hf:owner/name@revision`. Only the files of a bundle are downloaded. The cache, the
endpoint (`HF_ENDPOINT`), the token and offline mode (`HF_HUB_OFFLINE`) are those of huggingface_hub.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gfla_cli import __version__
from gfla_cli.bundles.files import CARD, CONFIG, LARGEST, WEIGHTS, sha256_of
from gfla_cli.errors import BundleError, GflaError, UsageError

PREFIX = "hf:"
_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
_TIMEOUT_S = 20
_LISTED = 6  # files that a message names
_AGAIN = "try again: finished files are kept"


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of the hub, and a branch, tag or commit."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision != "main" else "")


def is_hub_name(model: str | Path) -> bool:
    """Whether the name is that of a model on the hub."""
    return str(model).startswith(PREFIX)


def as_hub_name(text: str) -> str:
    """`hf:owner/name` for what people write instead: owner/name, or the address of its page."""
    name = re.sub(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/", "", text).rstrip("/")
    name = name.replace("/tree/", "@", 1)
    return PREFIX + name if not is_hub_name(text) and "/" in name else text


def parse_hub_name(model: str) -> HubName:
    """The parts of `hf:owner/name@revision`. Raises UsageError for anything else."""
    match = _NAME.fullmatch(model.removeprefix(PREFIX))
    if not is_hub_name(model) or match is None or ".." in model:
        raise UsageError(f"{model}: not a name of a model on the hub", hint="hf:owner/name or hf:owner/name@revision")
    return HubName(match["repository"], match["revision"] or "main")


def hub_bundle(model: str, *, newest: bool = False, weights: bool = True) -> Path:
    """The local folder of a model of the hub.

    A cached model is returned without network access, unless `newest` asks for the current revision. Without `weights`
    only the config and the card are downloaded. Raises BundleError when the model cannot be downloaded, is no bundle,
    is too large, or differs from the hub's hashes; such a file is removed.
    """
    name = parse_hub_name(model)
    required = (WEIGHTS, CONFIG) if weights else (CONFIG,)
    if not newest and (folder := _cached(name, required)):
        return folder
    with _hub_errors_explained(str(name)):
        commit, listed = _listing(name)
        for file in required:
            if file not in listed:
                there = ", ".join(sorted(listed)[:_LISTED]) + (", ..." if len(listed) > _LISTED else "")
                hint = f"it holds {there or 'nothing'}; pickles are never read"
                raise BundleError(f"{name}: no bundle, it has no {file}", hint=hint)
        files = [listed[file] for file in (*required[:-1], CARD) if file in listed]
        _refuse_too_large(name, [*files, listed[CONFIG]])
        _fetch_checked(name, commit, files)
        # Last, and by the revision's name: this makes the cache find the folder by that name.
        config = _fetch_checked(name, name.revision, [listed[CONFIG]])
    if not all((config.parent / file).exists() for file in required):
        raise BundleError(f"{name} was changed while it was downloaded", hint="try again")
    return config.parent


def fetch(repository: str, file: str) -> Path:
    """One file of a repository, downloaded on first use. Raises BundleError when it cannot be downloaded."""
    name = HubName(repository)
    if folder := _cached(name, (file,)):
        return folder / file
    with _hub_errors_explained(f"{repository}/{file}"):
        _, listed = _listing(name)
        if file not in listed:
            raise BundleError(f"{repository}: no file {file} there", hint="give a local file")
        _refuse_too_large(name, [listed[file]])
        return _fetch_checked(name, name.revision, [listed[file]])


def cached_bundles() -> Iterator[tuple[HubName, Path]]:
    """The bundles in the hub's cache: name and folder, sorted by repository and branch or tag."""
    from huggingface_hub import constants

    for ref in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*/refs/**/*")):
        if ref.is_file():
            repository = next(parent for parent in ref.parents if parent.name == "refs").parent
            folder = repository / "snapshots" / ref.read_text(encoding="utf-8").strip()
            if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
                _, owner, name = repository.name.split("--", 2)
                yield HubName(f"{owner}/{name}", ref.relative_to(repository / "refs").as_posix()), folder


def _client() -> Any:
    """The hub's client, with our name in its requests."""
    from huggingface_hub import HfApi

    return HfApi(library_name="gfla", library_version=__version__)


def _cached(name: HubName, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name.repository, file, revision=name.revision) for file in files]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if len(paths) == len(files) else None


def _listing(name: HubName) -> tuple[str, dict[str, Any]]:
    """The commit, and the size and hashes of every file, as the hub lists them."""
    info = _client().model_info(name.repository, revision=name.revision, files_metadata=True, timeout=_TIMEOUT_S)
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):  # it becomes part of paths
        raise BundleError(f"{name}: the hub's answer names no commit", hint="check HF_ENDPOINT")
    return str(info.sha), {file.rfilename: file for file in info.siblings or []}


def _refuse_too_large(name: HubName, files: Sequence[Any]) -> None:
    for file in files:
        most = LARGEST.get(file.rfilename, LARGEST[WEIGHTS])
        if file.size is None or file.size > most:
            size = "of unknown size" if file.size is None else f"{file.size / 1e6:.0f} MB"
            what = f"{name}: {file.rfilename} is {size}, at most {most / 1e6:.0f} MB are allowed"
            raise BundleError(what, hint="check that it is a model of gfla")


def _fetch_checked(name: HubName, revision: str, files: Sequence[Any]) -> Path:
    """Downloads files that are not cached; returns the last path. Raises BundleError when one differs from its hash."""
    path = Path()
    for file in files:
        path = Path(_client().hf_hub_download(name.repository, file.rfilename, revision=revision))
        if not _is_as_listed(path, file):
            for stored in (path.resolve(), path):  # the cache's file, and the link to it
                stored.unlink(missing_ok=True)
            what = f"{name}: {file.rfilename} is not what the hub's hash says; it was removed"
            raise BundleError(what, hint="try again; if it fails again, tell the model's owner")
    return path


def _is_as_listed(path: Path, file: Any) -> bool:
    """Compares the size and the hash: SHA-256 of large files (LFS), git's blob hash of small ones."""
    if path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return bool(sha256_of(path) == file.lfs.sha256)
    content = path.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id)


@contextmanager
def _hub_errors_explained(what: str) -> Iterator[None]:
    """Turns the client's exceptions into a BundleError of one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except GflaError:
        raise
    except errors.GatedRepoError as error:
        raise BundleError(
            f"{what}: its owner must grant access first", hint="ask on its page, then hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the name; private models need a token: hf auth login, or HF_TOKEN"
        raise BundleError(f"{what}: no such model on the hub", hint=hint) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        missing = not isinstance(error, errors.LocalEntryNotFoundError)
        text = "no such revision or file on the hub" if missing else "cannot be downloaded"
        raise BundleError(f"{what}: {text}", hint="check the part after the @" if missing else _AGAIN) from error
    except errors.OfflineModeIsEnabled as error:
        raise BundleError(f"{what}: not in the cache, and HF_HUB_OFFLINE is set", hint="pull it once online") from error
    # The client's network library, and so its exceptions, depend on the version.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        host = urlsplit(constants.ENDPOINT).hostname  # without the rest of the address, which may hold a password
        raise BundleError(f"{what} cannot be downloaded from {host} ({reason})", hint=_AGAIN) from error


def require_token() -> None:
    """Raises UsageError when the user is not logged in to the hub."""
    from huggingface_hub import get_token

    if not get_token():
        raise UsageError("no token for the hub", hint="hf auth login, or HF_TOKEN with a token that may write")


def upload(files: Sequence[Path], to: HubName, *, title: str, private: bool = False) -> str:
    """Uploads files in one commit with that title, and returns the commit's URL. Creates a missing repository.

    Needs a token (`require_token`). Raises BundleError when the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in files]
    with _hub_errors_explained(str(to)):
        _client().create_repo(to.repository, private=private, exist_ok=True)
        commit = _client().create_commit(to.repository, additions, commit_message=title, revision=to.revision)
    return str(commit.commit_url)
