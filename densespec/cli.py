"""The command ``densespec``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from densespec.errors import run
from densespec.repository import repository_root

#: Subcommand → module with ``add_arguments(parser)`` and ``main(args)``, and what it is for.
#: A module is imported only for its own command, so that ``--help`` answers at once.
COMMANDS = {
    "new-domain": ("densespec.corpus.new_domain", "bring a corpus in and make it a chain of the pipeline"),
    "profile": ("densespec.profile", "switch params.yaml to a machine: embedded, laptop, gpu"),
    "show": ("densespec.show", "print the results and the verdict of a domain"),
    "search": ("densespec.search", "rank passages by the specialised and the untuned model, side by side"),
    "sync": ("densespec.tracking.sync", "record commits and DVC experiments in MLflow, one run each"),
    "doctor": ("densespec.doctor", "say what is usable on this machine, and how to get the rest"),
    "clean": ("densespec.clean", "drop the scratch of finished work"),
}
DESCRIPTION = """\
Turn a corpus into a retriever specialised for it, and say honestly whether that worked.

The pipeline itself is run by DVC; this command does what lies around it.
"""
EPILOG = """\
examples:
  densespec new-domain support --from tickets.csv     a corpus becomes the domain 'support'
  densespec profile gpu                               values for large models into params.yaml
  dvc repro evaluate@support                          the pipeline for it; reruns only what changed
  densespec show support                              the verdict, and where the report is
  densespec search support "reset my password"        look at the rankings yourself
  dvc exp run -S distill.learning_rate=1e-5 report    an ablation
  densespec sync --experiments                        compare ablations in MLflow

'densespec COMMAND --help' explains one command.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; a user's mistake ends in one message and exit code 2."""
    run(lambda: _main(sys.argv[1:] if argv is None else list(argv)))


def _layout(prog: str) -> argparse.HelpFormatter:
    layout = argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110)
    layout._action_max_length = 14  # argparse overlooks the indent of the longest command
    return layout


def _main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "densespec", description=DESCRIPTION, epilog=EPILOG, formatter_class=_layout
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, formatter_class=_layout)
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    args = parser.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(f"densespec {version('densespec')}")
    elif args.command is None:
        parser.print_help()
    else:
        os.environ.setdefault("DVC_ROOT", str(repository_root()))  # scratch and tracking from any folder
        importlib.import_module(COMMANDS[args.command][0]).main(args)


if __name__ == "__main__":
    main()
