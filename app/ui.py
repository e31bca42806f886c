"""The web page, `python -m app.ui`: a paper in, its summary out, each sentence with its place."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

# Gradio reads it when it is imported; nothing here may call home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from app.arguments import add_model_arguments, positive_count
from app.batch import READABLE_SUFFIXES
from app.page_style import CSS, THEME
from app.page_view import COPY_SCRIPT, EMPTY_VIEW, view_draft, view_summary
from app.readers import read_document, read_text
from app.render import to_record
from app.streaming import Streamed
from terraformer.document import Document
from terraformer.errors import DocumentError, TerraformerError
from terraformer.summarizer import Summarizer
from terraformer.summary import LENGTHS, MODES, Length, Mode, Summary, SummaryOptions

MAX_FILE_SIZE = "100mb"
MAX_PASTED_CHARACTERS = 5_000_000
SECONDS_BETWEEN_WORDS = 0.15  # as they are shown
MAX_WAITING = 16  # visitors in the queue; the next is told to come back
EXAMPLE = Path(__file__).parent.parent / "examples" / "report.pdf"

log = logging.getLogger(__name__)


def build_page(summarizer: Summarizer) -> gr.Blocks:
    """Returns the page; its endpoint "summarize" serves programs.

    Args:
        summarizer: Makes all summaries, one at a time.
    """

    def summarize(
        file: str | None,
        text: str,
        length: Length,
        keep_abstract: bool,
        mode: Mode | None = None,
        strict: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> tuple[str, dict[str, Any]]:
        """Summarizes an uploaded file or a pasted text; returns HTML and the summary's record."""
        *_, result = show(file, text, length, keep_abstract, mode, strict, progress)
        return result

    def show(
        file: str | None,
        text: str,
        length: Length,
        keep_abstract: bool,
        mode: Mode | None = None,
        strict: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[str, Any]]:
        """Yields what is written of a summary, as HTML, then what `summarize` returns."""

        def report(what: str, done: int, total: int) -> None:
            progress((done, total), desc=what, unit="")

        try:
            options = SummaryOptions(length=length, mode=mode, strict=strict)
            document, source = _read(file, text, keep_abstract, report)

            def work(tell: Callable[[str], None]) -> Summary:
                return summarizer.summarize(
                    document, options, progress=report, written=lambda words, _: tell(words)
                )

            writing = Streamed(work, SECONDS_BETWEEN_WORDS)
            draft = ""
            for words in writing:
                draft += "".join(words)
                yield view_draft(draft, source), gr.skip()
        except TerraformerError as error:
            raise _shown(str(error)) from error
        except Exception as error:
            log.exception("summarizing failed")
            raise _shown(
                "the summarizer failed on this document; the details are in the server's log"
            ) from error
        yield (
            view_summary(writing.result, document, source=source, length=options.length),
            to_record(writing.result, document, source=source, length=options.length),
        )

    with gr.Blocks(
        title="Terraformer Summarizer", analytics_enabled=False, delete_cache=(600, 3600)
    ) as page:
        gr.HTML(
            "<h1>Summarize a paper</h1><p>The sentences that say most, each with its page and "
            "section. All work is done by the machine that serves this page.</p>",
            elem_classes="tf-head",
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                file = gr.File(
                    label="A paper (PDF, text, Markdown or HTML)",
                    file_types=sorted(READABLE_SUFFIXES),
                    height=180,
                )
                text = gr.Textbox(
                    label="or its text",
                    placeholder="Paste a text here; headings on lines of their own help.",
                    lines=5,
                    max_lines=12,
                    max_length=MAX_PASTED_CHARACTERS,
                )
                length = gr.Radio(
                    choices=list(LENGTHS),
                    value="normal",
                    label="Length",
                    info="Normal is about the length of an abstract, short half, long twice that.",
                )
                keep_abstract = gr.Checkbox(
                    label="Keep the abstract",
                    info="Leave the paper's own abstract in what is summarized.",
                )
                writing = _writing_inputs(summarizer) if "abstract" in summarizer.modes else []
                button = gr.Button("Summarize", variant="primary")
                if EXAMPLE.is_file():
                    gr.Examples([[str(EXAMPLE)]], inputs=[file], label="Try one")
            with gr.Column(scale=3, min_width=300):
                view = gr.HTML(EMPTY_VIEW, js_on_load=COPY_SCRIPT, elem_classes="tf-view")
                record = gr.JSON(visible=False)
        inputs, outputs = [file, text, length, keep_abstract, *writing], [view, record]
        button.click(
            show,
            inputs,
            outputs,
            api_visibility="private",
            concurrency_limit=1,
            concurrency_id="summarize",
            show_progress_on=view,
            scroll_to_output=True,
        )
        # Programs would be given the first words alone by what streams.
        gr.Button(visible=False).click(
            *(summarize, inputs, outputs),
            api_name="summarize",
            concurrency_limit=1,
            concurrency_id="summarize",
        )
    page.queue(max_size=MAX_WAITING)
    return page


def _writing_inputs(summarizer: Summarizer) -> list[gr.Radio | gr.Checkbox]:
    """Returns the inputs for the mode and for strictness."""
    mode = gr.Radio(
        choices=list(MODES),
        value=summarizer.mode,
        label="Mode",
        info="Extract picks sentences of the document, abstract writes new ones.",
    )
    strict = gr.Checkbox(
        label="Strict",
        info="Leave out written sentences with numbers or names that the document does not hold.",
    )
    return [mode, strict]


def _read(file: str | None, text: str, keep_abstract: bool, progress: Any) -> tuple[Document, str]:
    """Returns the document and its name for a reader."""
    has_text = bool(text and text.strip())
    if file is not None and has_text:
        raise DocumentError("there are both a file and a text: take one of them away")
    if file is not None:
        document = read_document(file, keep_abstract=keep_abstract, progress=progress)
        return document, Path(file).name
    if not has_text:
        raise DocumentError("there is nothing to summarize yet: upload a paper or paste its text")
    return read_text(text, keep_abstract=keep_abstract), "pasted text"


def _shown(message: str) -> gr.Error:
    """Returns an error that the page shows as a sentence until it is closed."""
    sentence = message[:1].upper() + message[1:]
    return gr.Error(
        escape(sentence.rstrip(".")) + ".",
        duration=None,
        print_exception=False,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page until interrupted and returns the exit status.

    Args:
        argv: Arguments without the program's name; None for those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m app.ui", description="Serve the web page that summarizes papers."
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument("--port", type=positive_count, default=7860, help="default: 7860")
    parser.add_argument(
        "--share", action="store_true", help="also open a public address through gradio.live"
    )
    add_model_arguments(parser)
    arguments = parser.parse_args(argv)
    print("summarize: loading the model …", file=sys.stderr)
    try:
        summarizer = Summarizer.load(
            arguments.model,
            memory=arguments.memory,
            threads=arguments.threads,
            device=arguments.device,
        )
        page = build_page(summarizer)
        launch(page, host=arguments.host, port=arguments.port, share=arguments.share)
    except TerraformerError as error:
        print(f"summarize: {error}", file=sys.stderr)
        return 1
    print(f"summarize: the page is at {page.local_url} (Ctrl-C ends it)", file=sys.stderr)
    page.block_thread()
    return 0


def launch(page: gr.Blocks, *, host: str, port: int, share: bool = False) -> None:
    """Starts serving the page in the background.

    Args:
        page: As `build_page` made it.
        host: Address to listen on.
        port: Port to listen on.
        share: Whether to open a public address too.
    Raises:
        TerraformerError: if the port cannot be had.
    """
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            max_file_size=MAX_FILE_SIZE,
            footer_links=["api"],
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            theme=THEME,
            css=CSS,
        )
    except OSError as error:
        raise TerraformerError(
            f"port {port} of {host} is taken or not allowed: choose another with --port"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
