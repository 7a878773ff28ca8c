"""`gfla study`: the user study (JND) as a web page, a server for several raters, and the tally of their answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import counted, print_json, print_table, progress_bar, refuse_unused, say

if TYPE_CHECKING:
    from gfla_cli.study.results import Result, Tally


app = typer.Typer(help="User study: raters tell real images from generated ones.", no_args_is_help=True)

Results = Annotated[Path | None, typer.Option(help="Folder for the raters' answers.", show_default="PAGE-results")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0 takes a free one.")]


@app.command()
def make(
    context: typer.Context,
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Folder of real images.", show_default=False)],
    generated: Annotated[
        list[str],
        typer.Argument(
            metavar="GENERATED",
            help="Folder of generated images, or NAME=FOLDER; one for each model.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("study.html"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Which image is real?",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs per model, drawn at random.")] = 800,
    trials: Annotated[int, typer.Option(min=1, help="Pairs that a rater sees in one sitting.")] = 50,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Answers for every pair, over all sittings.")] = 5,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="Seconds that a pair is shown; 0: no limit.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the order of pairs.")] = 0,
    practice: Annotated[
        int, typer.Option(min=0, max=20, help="Pairs for practice; the page tells whether the answer was right.")
    ] = 3,
    catch: Annotated[int, typer.Option(min=0, max=50, help="Easy pairs in every sitting, which test attention.")] = 0,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    serve: Annotated[bool, typer.Option("--serve", help="Then serve the page; see gfla study serve.")] = False,
    results: Results = None,
    port: Port = 8000,
) -> None:
    """Write the page of a study: one HTML file that works without a network, on phones too.

    Images are paired by file name; SOURCE--TARGET.png, as gfla infer writes, belongs to TARGET. The defaults are the
    paper's: 800 pairs per model, each compared 5 times. The page saves the answers as a file for gfla study tally.

    Example: gfla study make real/ ours=results/ theirs=baseline/ -o study.html
    """
    from gfla_cli.io.files import InputFiles
    from gfla_cli.io.image import READABLE
    from gfla_cli.study.make import HEAVY_BYTES, StudyOptions, make_study, parse_models

    if not serve:
        refuse_unused(context, "nothing is served", "results", "port", hint="add --serve, or leave it out")
    how = StudyOptions(
        title=title,
        pairs=pairs,
        trials=trials,
        repeats=repeats,
        seconds=seconds,
        seed=seed,
        practice=practice,
        catch=catch,
    )
    models = parse_models(generated)
    folders = [folder for folder in (real, *models.values()) if folder.is_dir()]
    if output.suffix.lower() in READABLE:
        InputFiles(image for folder in folders for image in folder.iterdir()).refuse(output)
    with progress_bar("pairs", quiet=quiet) as progress:
        report = make_study(real, models, output, how, overwrite=overwrite, progress=progress)
    made = report.settings
    if report.left_out:
        say(
            f"{report.left_out} generated images left out: without a real one, missing for a model, or a second one",
            quiet=quiet,
        )
    counts = f"{counted(made.pairs, 'pair')} of {counted(made.models, 'model')}"
    answers = counted(repeats, "answer")
    say(f"{counts}, {counted(made.sittings, 'sitting')} for {answers} each", quiet=quiet)
    say(f"{report.bytes / 1e6:.1f} MB, study {made.id}", quiet=quiet)
    if report.bytes > HEAVY_BYTES:
        say("phones may refuse a page of this size; a smaller --pairs helps", quiet=quiet)
    typer.echo(output)
    if serve:
        _serve(output, results, port, quiet=quiet)


@app.command("serve")
def serve_study(
    page: Annotated[Path, typer.Argument(help="A page of gfla study make.", show_default=False)],
    results: Results = None,
    port: Port = 8000,
    quiet: options.Quiet = False,
) -> None:
    """Serve a study on this machine: every rater gets another sitting, and answers become files in one folder.

    The server listens on 127.0.0.1 only. For raters elsewhere, put a tunnel or a web server with TLS in front of it,
    or send them the page: it works without a server too. Ctrl-C ends it.

    Example: gfla study serve study.html --results answers/
    """
    _serve(page, results, port, quiet=quiet)


def _serve(page: Path, results: Path | None, port: int, *, quiet: bool) -> None:
    from gfla_cli.io.files import sole_writer
    from gfla_cli.study.serve import ServedStudy, StudyServer
    from gfla_cli.webapp import HOST

    folder = results or page.with_name(f"{page.stem}-results")
    study = ServedStudy(page, folder)

    def saved(path: Path, result: Result) -> None:
        say(f"{len(result.answers)} answers: {path}", quiet=quiet)

    with sole_writer(folder), StudyServer(study, port, saved) as server:
        typer.echo(f"http://{HOST}:{server.server_port}/")
        say(f"answers go to {folder}; Ctrl-C ends it", quiet=quiet)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say(f"ended; {counted(study.count(), 'sitting')} in {folder}", quiet=quiet)


@app.command("tally")
def tally_study(
    results: Annotated[
        list[Path], typer.Argument(help="Result files, or folders of result files.", show_default=False)
    ],
    study: Annotated[str | None, typer.Option(help="Id of the study, if the files belong to several.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Count how often generated images were taken for real: the paper's JND, with 95 % intervals.

    50 % means that raters guess. Excluded results are listed with the reason.

    Example: gfla study tally answers/
    """
    from gfla_cli.study.results import find_results, tally

    found = tally(find_results(results), study)
    for error in found.unreadable:
        say(f"left out: {error}")
    if found.unreadable:
        say(f"hint: {found.unreadable[0].hint}")
    for path, why in found.excluded:
        say(f"left out: {path}: {why}")
    if not as_json:
        _print_table(found)
        return
    print_json(
        {
            "study": found.study,
            "raters": found.raters,
            "sittings": found.sittings,
            "models": [{**asdict(model), "share": model.share} for model in found.models],
            "excluded": [{"file": str(path), "why": why} for path, why in found.excluded],
            "unreadable": [str(error) for error in found.unreadable],
        }
    )


def _print_table(found: Tally) -> None:
    from rich.table import Table

    table = Table("model", "taken for real", "95 % answers", "95 % raters", "answers", "pairs", "raters")
    for model in found.models:
        intervals = (
            "-" if span is None else f"{100 * span[0]:.1f} - {span[1]:.1%}"
            for span in (model.wilson, model.over_raters)
        )
        counts = (str(count) for count in (model.answers, model.pairs, model.raters))
        table.add_row(model.model, f"{model.share:.2%}", *intervals, *counts)
    print_table(table)
    out = len(found.excluded) + len(found.unreadable)
    typer.echo(f"study {found.study}; raters: {found.raters}, sittings: {found.sittings}, files left out: {out}")
