"""`gfla doctor`: a paste-ready description of this machine and installation."""

from __future__ import annotations

import typer

from gfla_cli.commands.options import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Describe this installation, paste-ready for a bug report: versions, devices, models; no secrets, no home folder.

    Exit code 1 when something that every command needs is broken.

    Example: gfla doctor
    """
    import json

    from gfla_cli.inference.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.name:<{width}}  {'' if finding.fine else 'BROKEN: '}{finding.value}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)
