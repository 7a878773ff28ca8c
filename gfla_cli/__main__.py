"""`python -m gfla_cli` is the `gfla` command."""

from gfla_cli.app import app

if __name__ == "__main__":  # a spawned worker imports this module too
    app()
