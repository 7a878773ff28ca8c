"""`python -m gfla_cli` is the `gfla` command."""

from gfla_cli.app import app

app()
