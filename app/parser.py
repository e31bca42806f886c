"""The words of the command `summarize`. Light: `--help` must not wait for torch."""

from __future__ import annotations

import argparse

from app.arguments import add_model_arguments, summary_length
from terraformer.summary import MODES

_EXAMPLES = """\
examples:
  summarize paper.pdf                          about the length of an abstract
  summarize paper.pdf --length short           half of that; long, or 250 for 250 words
  summarize paper.pdf --format markdown        each sentence with its page and section
  summarize --mode abstract --strict paper.pdf  written anew, nothing that is not in the paper
  summarize paper.pdf --output paper.json      the format follows the file's suffix
  pandoc paper.docx -t plain | summarize -     text from another program
  summarize papers/ --output summaries/        a folder; run again, it goes on where it was
  summarize --device cuda --memory 4GiB paper.pdf   on a GPU, in so much of its memory

A summary goes to standard output; progress and remarks go to standard error.
Exit status: 0 done, 1 a document could not be summarized, 2 wrong usage.
"""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `summarize`."""
    parser = argparse.ArgumentParser(
        prog="summarize",
        description="Summarize long scientific documents, offline: the sentences that say most, "
        "each with the page and section it stands on, or sentences written from them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a PDF, text, Markdown or HTML file, a folder of them, or - for standard input",
    )
    parser.add_argument(
        "--length",
        type=summary_length,
        default="normal",
        metavar="short|normal|long|N",
        help="length of the summary, N in words (default: normal, like an abstract)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        help="extract picks sentences of the document, abstract writes new ones (default: what the "
        "model was made for)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="leave out written sentences with numbers or names that the document does not hold, "
        "rather than mark them",
    )
    parser.add_argument(
        "--format", choices=("text", "markdown", "json"), help="of the summary (default: text)"
    )
    parser.add_argument(
        "--order",
        choices=("document", "picked"),
        default="document",
        help="of the sentences: as they stand in the document, or as they were picked",
    )
    parser.add_argument(
        "--keep-abstract",
        action="store_true",
        help="leave the paper's own abstract in what is summarized",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE_OR_FOLDER", help="where to write (default: standard output)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make summaries of a folder anew that exist"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress and no remarks")
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="show it and exit")
    add_model_arguments(parser)
    return parser


class _VersionAction(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"summarize {version('terraformer-summarizer')}")
        parser.exit()
