"""The command `summarize`: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.parser import build_parser
from terraformer.device import uses_gpu
from terraformer.errors import TerraformerError
from terraformer.summary import SummaryOptions

if TYPE_CHECKING:
    import argparse

    from app.progress import StderrProgress
    from app.render import Format
    from app.terminal_stream import TerminalStream
    from terraformer.summary import SummarySentence

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
TEXT_WIDTH = 100  # columns, on a terminal
_FORMATS_BY_SUFFIX: dict[str, Format] = {
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        argv: Arguments without the program's name; None for those of the process.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        status = _run(parser, arguments)
        sys.stdout.flush()
        return status
    except TerraformerError as error:
        _say(str(error))
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader has gone, as in `summarize … | head`: keep the interpreter from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if len(arguments.files) == 1 and not Path(arguments.files[0]).is_dir():
        return _summarize_one(arguments)
    if "-" in arguments.files:
        parser.error("- (standard input) cannot be one of several files")
    if arguments.output is None:
        parser.error("several papers need --output FOLDER, where their summaries go")
    if Path(arguments.output).is_file():
        parser.error(f"--output ({arguments.output}) must be a folder for several papers")
    return _summarize_many(parser, arguments)


def _summarize_one(arguments: argparse.Namespace) -> int:
    from app.progress import StderrProgress
    from app.readers import read_document
    from app.render import notes_of, render
    from app.terminal_stream import TerminalStream

    file = arguments.files[0]
    options = _options(arguments)
    target = _target(arguments, file)
    format = _format(arguments, target)
    width = TEXT_WIDTH if target is None and sys.stdout.isatty() else None
    if file == "-" and sys.stdin.isatty() and not arguments.quiet:
        _say("reading the terminal: end the text with Ctrl-D")
    with StderrProgress(enabled=not arguments.quiet) as progress:
        document = read_document(file, keep_abstract=arguments.keep_abstract, progress=progress)
        progress("loading the model", 0, 1)
        from terraformer.summarizer import Summarizer

        summarizer = Summarizer.load(
            arguments.model,
            mode=arguments.mode,
            memory=arguments.memory,
            threads=arguments.threads,
            device=arguments.device,
        )
        progress("loading the model", 1, 1)
        stream = None
        if width is not None and format == "text":
            stream = _Stream(TerminalStream(sys.stdout, width), progress)
        summary = summarizer.summarize(document, options, progress=progress, written=stream)
        if stream is not None:
            stream.close()
    if not arguments.quiet:
        for note in notes_of(summary, document):
            _say(note)
    if stream is not None and stream.has_begun:
        return 0
    text = render(
        summary,
        document,
        source="standard input" if file == "-" else Path(file).name,
        length=options.length,
        format=format,
        width=width,
    )
    _write(text, target)
    return 0


def _summarize_many(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from app.batch import BatchSettings, plan, summarize_papers
    from app.progress import StderrProgress
    from app.worker_pool import n_cores

    format = _format(arguments, None)
    try:
        jobs = plan(map(Path, arguments.files), Path(arguments.output), format)
    except ValueError as error:
        parser.error(str(error))
    n_workers = min(arguments.threads or n_cores(), len(jobs))
    if uses_gpu(arguments.device):
        n_workers = 1  # each would hold the model and a CUDA context of its own there
    settings = BatchSettings(
        options=_options(arguments),
        format=format,
        keep_abstract=arguments.keep_abstract,
        model=arguments.model,
        memory=None if arguments.memory is None else arguments.memory // n_workers,
        device=arguments.device,
    )
    with StderrProgress(enabled=not arguments.quiet) as progress:
        report = summarize_papers(
            jobs,
            settings,
            n_workers=n_workers,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    for source, message in report.failures:
        told = message.removeprefix(f"{source.name} ")
        _say(f"{source} {told}" if told != message else f"{source}: {message}")
    if not arguments.quiet:
        _say(
            f"{report.n_summarized} summarized, {report.n_skipped} there already, "
            f"{len(report.failures)} failed"
        )
    return EXIT_FAILED if report.failures else 0


class _Stream:
    """Shows a summary while it is written, in the place of the progress."""

    def __init__(self, stream: TerminalStream, progress: StderrProgress) -> None:
        self.has_begun = False
        self._stream = stream
        self._progress = progress

    def __call__(self, text: str, sentence: SummarySentence | None) -> None:
        self._progress.stop()
        self.has_begun = True
        self._stream(text, sentence)

    def close(self) -> None:
        if self.has_begun:
            self._stream.close()


def _options(arguments: argparse.Namespace) -> SummaryOptions:
    return SummaryOptions(
        length=arguments.length,
        order=arguments.order,
        mode=arguments.mode,
        strict=arguments.strict,
    )


def _target(arguments: argparse.Namespace, file: str) -> Path | None:
    """Returns the file to write, or None for standard output."""
    if arguments.output is None:
        return None
    target = Path(arguments.output)
    if target.is_dir() or arguments.output.endswith(os.sep):
        from app.render import SUFFIXES

        stem = "standard-input" if file == "-" else Path(file).stem
        return target / f"{stem}.summary{SUFFIXES[_format(arguments, None)]}"
    return target


def _format(arguments: argparse.Namespace, target: Path | None) -> Format:
    if arguments.format is not None:
        return arguments.format
    return "text" if target is None else _FORMATS_BY_SUFFIX.get(target.suffix.lower(), "text")


def _write(text: str, target: Path | None) -> None:
    if target is not None:
        from app.whole_file import write_whole

        write_whole(target, text)
        return
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    sys.stdout.write(text)


def _say(message: str) -> None:
    print(f"summarize: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
