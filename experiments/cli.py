"""The command `fenchel`.

Exit status: 0 fine; 1 a run, a check or a benchmark failed; 2 bad input; 3 all figures were made
and a claim was not reproduced; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import arguments, registry
from .arguments import Parser
from .errors import InputError
from .script import attempt, guarded, status

DESCRIPTION = "Run experiments, draw figures of papers, and check what the papers claim."
EXAMPLES = """examples:
  fenchel list                                  what there is
  fenchel figures                               every figure at the quick preset, and the report
  fenchel figures NAME --preset standard        one figure, at the size that verdicts rest on
  fenchel run NAME --n-replications 64          tables only, with a setting changed
  fenchel run NAME --help                       the settings of NAME

Finished runs are kept in ./results (or $FENCHEL_RESULTS): a command that was stopped goes on where
it was, and one that is repeated only draws."""
OVERRIDES = "Settings may follow, such as --n-replications 64; --help after NAME lists them."


def main(argv: Sequence[str] | None = None) -> int:
    """The command `fenchel`; returns its exit status."""
    return guarded(lambda: _dispatch(sys.argv[1:] if argv is None else list(argv)))


def _dispatch(argv: list[str]) -> int:
    parser = Parser(prog="fenchel", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def command(name: str, run: Callable[[Any, list[str]], int], text: str) -> Parser:
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(command=run, prog=made.prog)
        return made

    command("list", _list, "list figures, their experiments, and benchmarks")
    run = commands.add_parser(
        "run",
        add_help=False,
        help="make the runs of one experiment; print where the tables are",
        usage="fenchel run NAME [OPTIONS] [SETTINGS]",
        description=f"Make the runs of one experiment, without drawing.\n{OVERRIDES}",
    )
    run.set_defaults(command=_run, parser=run)
    run.add_argument("name", metavar="NAME", nargs="?", help="of a figure or an experiment")
    run.add_argument("-h", "--help", action="store_true", help="show this, and NAME's settings")
    arguments.sweep_options(run)
    run.add_argument(
        "--seeds", type=arguments.count, metavar="N", help="runs of each config (n_seeds)"
    )
    figures = command("figures", _figures, "make figures, check their claims, write the report")
    figures.add_argument("names", metavar="NAME", nargs="*", help="figures (default: all)")
    arguments.sweep_options(figures)
    arguments.gallery_option(figures)
    command("report", _report, "write the report of the figures that have been made")
    bench = command("bench", _bench, "run benchmarks against peers")
    bench.add_argument("names", metavar="NAME", nargs="*", help="benchmarks (default: all)")

    options, words = parser.parse_known_args(argv)
    if options.version:
        from .provenance import checkout, versions

        commit = checkout()["commit"]
        print(f"fenchel {versions()['fenchel']}{f' (commit {commit[:12]})' if commit else ''}")
        return 0
    if "command" not in options:
        parser.print_help()
        return 0
    if words and options.command is not _run:
        raise InputError(f"{options.prog}: unknown {' '.join(words)}; see {options.prog} --help")
    return int(options.command(options, words))


def _list(options: argparse.Namespace, words: list[str]) -> int:
    from . import display

    return display.catalogue()


def _run(options: argparse.Namespace, words: list[str]) -> int:
    if options.name is None:
        if options.help:
            options.parser.print_help()
            return 0
        raise InputError("fenchel run: NAME is missing; fenchel list shows what there is")
    experiment = registry.load_experiment(options.name)
    prog = f"fenchel run {options.name}"
    if options.help:
        settings = arguments.settings_help(experiment.presets, options.preset, prog)
        print(options.parser.format_help() + settings)
        return 0
    if options.seeds is not None:
        words = [*words, "--n-seeds", str(options.seeds)]
    changes = arguments.overrides(experiment.settings(options.preset), words, prog)

    from . import display
    from .runner import sweep
    from .store import Store

    store = Store()
    settings = experiment.settings(options.preset, **changes)
    results = sweep(experiment, settings, jobs=options.jobs, store=store, fresh=options.fresh)
    display.runs(results, store)
    return 0


def _figures(options: argparse.Namespace, words: list[str]) -> int:
    from . import display
    from .report import write_report
    from .store import Store

    store = Store()
    known = registry.figure_names()
    names = list(dict.fromkeys(options.names)) or known
    for name in names:
        registry.check_known(name, known, "figure")
    records, failed = [], 0
    for name in names:
        record, failures = attempt(partial(registry.load_figure, name), options, {}, store)
        records += [record] if record else []
        failed += failures
    display.summary(records, failed, write_report(store.root))
    return status(records, failed)


def _report(options: argparse.Namespace, words: list[str]) -> int:
    from .report import write_report

    print(write_report())
    return 0


def _bench(options: argparse.Namespace, words: list[str]) -> int:
    from . import display

    known = registry.benchmark_names()
    for name in options.names:
        registry.check_known(name, known, "benchmark")
    failed = 0
    for name in options.names or known:
        display.heading(name)
        try:
            registry.load_benchmark(name).main()
        except Exception:
            display.traceback()
            failed = 1
    return failed
