"""Files from the Hugging Face hub: what is cached is used at once, the network is asked only for the rest."""

from __future__ import annotations

from pathlib import Path

from gfla_cli.errors import BundleError


def fetch(repository: str, file: str) -> Path:
    """Path of one file of a hub repository, downloaded on first use; raises BundleError when it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # The hub client retries for 20 s without a network, even for files it has; so look locally first.
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(repository, file))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BundleError(
            f"{repository}/{file} cannot be downloaded", hint="connect to the network once, or give a local file"
        ) from error
