"""From a bundle to the hub: checked first, shown before it is sent, and nothing but the files of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.bundle import read_bundle
from gfla_cli.bundles.files import CARD, CONFIG, WEIGHTS
from gfla_cli.bundles.hub import HubName, client, trouble_explained
from gfla_cli.bundles.shelf import bundle_name
from gfla_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shipment:
    """What would be sent."""

    name: str
    folder: Path
    licence: str | None  # as the config states it
    bytes: dict[str, int]  # of every file


def prepare_shipment(model: str | Path) -> Shipment:
    """Reads a bundle as if to run it; raises BundleError when it is unknown or damaged."""
    stored = read_bundle(model)
    files = [file for file in (CONFIG, WEIGHTS, CARD) if (stored.folder / file).is_file()]
    licence = stored.about.get("license")
    sizes = {file: (stored.folder / file).stat().st_size for file in files}
    return Shipment(bundle_name(stored.folder), stored.folder, str(licence) if licence else None, sizes)


def require_token() -> None:
    """Raises UsageError when nobody is logged in to the hub; the token itself is never read out."""
    from huggingface_hub import get_token

    if not get_token():
        raise UsageError("no token for the hub", hint="hf auth login, or HF_TOKEN with a token that may write")


def ship(shipment: Shipment, to: HubName, *, private: bool = False) -> str:
    """Sends all files in one commit, to a repository that is made if need be; returns the commit's address.

    Raises UsageError without a token, BundleError when the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd

    require_token()
    additions = [
        CommitOperationAdd(path_in_repo=file, path_or_fileobj=shipment.folder / file) for file in shipment.bytes
    ]
    with trouble_explained(str(to)):
        client().create_repo(to.repository, private=private, exist_ok=True)
        commit = client().create_commit(
            to.repository,
            additions,
            commit_message=f"{shipment.name}, sent with gfla",
            revision=to.revision,
        )
    return str(commit.commit_url)
