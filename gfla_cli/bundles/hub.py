"""Files from the Hugging Face hub: what is cached is used at once, the rest is downloaded and checked against its hash.

A model is named `hf:owner/name` or `hf:owner/name@revision`. Of its repository only the files of a bundle are fetched;
cache, endpoint (`HF_ENDPOINT`), token and offline mode (`HF_HUB_OFFLINE`) are those of huggingface_hub.
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
_AGAIN = "try again: what arrived whole is kept and not fetched twice"


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of the hub and a branch, tag or commit of it."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision != "main" else "")


def is_hub_name(model: str | Path) -> bool:
    """Whether this names a model of the hub."""
    return str(model).startswith(PREFIX)


def parse_hub_name(model: str) -> HubName:
    """`hf:owner/name@revision` in its parts; raises UsageError for anything else."""
    match = _NAME.fullmatch(model.removeprefix(PREFIX))
    if not is_hub_name(model) or match is None or ".." in model:
        raise UsageError(f"{model}: no name of a model on the hub", hint="hf:owner/name or hf:owner/name@revision")
    return HubName(match["repository"], match["revision"] or "main")


def hub_bundle(model: str, *, newest: bool = False, weights: bool = True) -> Path:
    """The folder of a model of the hub. Without `newest` the network is asked only when it is not in the cache.

    Raises BundleError when it cannot be had, is no bundle, is too large, or is not what its hashes say; nothing of
    such a file stays. `weights`: False fetches what describes the model only.
    """
    name = parse_hub_name(model)
    required = (WEIGHTS, CONFIG) if weights else (CONFIG,)
    if not newest and (folder := _cached(name, required)):
        return folder
    with trouble_explained(str(name)):
        commit, listed = _listing(name)
        for file in required:
            if file not in listed:
                hint = "bundles hold config.json and model.safetensors; pickles are never read"
                raise BundleError(f"{name}: no bundle, it has no {file}", hint=hint)
        files = [listed[file] for file in (*required[:-1], CARD) if file in listed]
        _refuse_too_large(name, [*files, listed[CONFIG]])
        _fetch_checked(name, commit, files)
        # Last, by its revision: this is what makes the cache know the folder under that name.
        config = _fetch_checked(name, name.revision, [listed[CONFIG]])
    if not all((config.parent / file).exists() for file in required):
        raise BundleError(f"{name} was changed while it was downloaded", hint="try again")
    return config.parent


def fetch(repository: str, file: str) -> Path:
    """One file of a repository, downloaded on first use; raises BundleError when it cannot be had."""
    name = HubName(repository)
    if folder := _cached(name, (file,)):
        return folder / file
    with trouble_explained(f"{repository}/{file}"):
        _, listed = _listing(name)
        if file not in listed:
            raise BundleError(f"{repository}: no file {file} there", hint="give a local file")
        _refuse_too_large(name, [listed[file]])
        return _fetch_checked(name, name.revision, [listed[file]])


def cached_bundles() -> Iterator[tuple[HubName, Path]]:
    """What the cache holds of models in our format, by repository and branch or tag."""
    from huggingface_hub import constants

    for ref in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*/refs/**/*")):
        if ref.is_file():
            repository = next(parent for parent in ref.parents if parent.name == "refs").parent
            folder = repository / "snapshots" / ref.read_text(encoding="utf-8").strip()
            if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
                _, owner, name = repository.name.split("--", 2)
                yield HubName(f"{owner}/{name}", ref.relative_to(repository / "refs").as_posix()), folder


def client() -> Any:
    """The hub's client, which says who asks."""
    from huggingface_hub import HfApi

    return HfApi(library_name="gfla", library_version=__version__)


def _cached(name: HubName, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name.repository, file, revision=name.revision) for file in files]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if len(paths) == len(files) else None


def _listing(name: HubName) -> tuple[str, dict[str, Any]]:
    """The commit, and of every file of a repository the hub's size and hashes."""
    info = client().model_info(name.repository, revision=name.revision, files_metadata=True, timeout=_TIMEOUT_S)
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):  # it becomes a part of paths
        raise BundleError(f"{name}: the hub names no commit", hint="does HF_ENDPOINT lead to a hub?")
    return str(info.sha), {file.rfilename: file for file in info.siblings or []}


def _refuse_too_large(name: HubName, files: Sequence[Any]) -> None:
    for file in files:
        most = LARGEST.get(file.rfilename, LARGEST[WEIGHTS])
        if file.size is None or file.size > most:
            size = "of unknown size" if file.size is None else f"{file.size / 1e6:.0f} MB"
            what = f"{name}: {file.rfilename} is {size}, at most {most / 1e6:.0f} MB are taken"
            raise BundleError(what, hint="is it a model of gfla?")


def _fetch_checked(name: HubName, revision: str, files: Sequence[Any]) -> Path:
    """Downloads what is not cached; returns the last path. Raises BundleError for what is not as the hub lists it."""
    path = Path()
    for file in files:
        path = Path(client().hf_hub_download(name.repository, file.rfilename, revision=revision))
        if not _is_as_listed(path, file):
            for stored in (path.resolve(), path):  # the cache's own file, and its name there
                stored.unlink(missing_ok=True)
            what = f"{name}: {file.rfilename} is not what the hub's hash says; it was removed"
            raise BundleError(what, hint="try again; if it happens again, tell the model's owner")
    return path


def _is_as_listed(path: Path, file: Any) -> bool:
    """Large files are listed with their SHA-256, small ones with git's hash of them."""
    if path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return bool(sha256_of(path) == file.lfs.sha256)
    content = path.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id)


@contextmanager
def trouble_explained(what: str) -> Iterator[None]:
    """Turns what the hub's client raises into a BundleError of one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except GflaError:
        raise
    except errors.GatedRepoError as error:
        raise BundleError(
            f"{what}: its owner wants to be asked first", hint="ask on its page, then hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the name; private models need a token: hf auth login, or HF_TOKEN"
        raise BundleError(f"{what}: no such model on the hub", hint=hint) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        missing = not isinstance(error, errors.LocalEntryNotFoundError)
        text = "no such revision or file on the hub" if missing else "cannot be had"
        raise BundleError(f"{what}: {text}", hint="check what stands behind the @" if missing else _AGAIN) from error
    except errors.OfflineModeIsEnabled as error:
        raise BundleError(f"{what}: not in the cache, and HF_HUB_OFFLINE is set", hint="pull it once online") from error
    # Its network library is another one from version to version, and so are the exceptions of a broken connection.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        host = urlsplit(constants.ENDPOINT).hostname  # not the whole address: it may hold a password
        raise BundleError(f"{what} cannot be had from {host} ({reason})", hint=_AGAIN) from error
