"""What docs/results.md says: a section of Markdown for each kind of report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.results_rows import length_rows, loss_rows, measure_rows, rouge_rows, section_rows
from eval.table import format_markdown

MEASURES_EXPLAINED = """\
- coverage: share of the summary's tokens in pieces copied from the source; density: mean length of
  the piece that a token stands in; compression: tokens of the source for each of the summary
  ([Grusky et al. 2018](https://arxiv.org/abs/1804.11283)).
- novel bigrams: share of the summary's word pairs that the source does not have, and so of single
  words, trigrams and 4-grams ([See et al. 2017](https://arxiv.org/abs/1704.04368)).
- repeated trigrams: share that has stood in the summary before
  ([Xiao and Carenini 2020](https://arxiv.org/abs/2012.00052), one less their ratio of unique
  n-grams); redundancy: mean ROUGE-L F1 of all pairs of its sentences (Bommasani and Cardie 2020).
- near-duplicates: sentences a summary with a ROUGE-L F1 of at least {near_duplicate} to an earlier
  one; road maps: sentences a summary such as "Section 2 describes the data".
- unsupported numbers and names: share of the numbers in digits, and of the capitalised words that
  do not open a sentence, that the source has nowhere."""

LOOPS_EXPLAINED = """
- unsupported sentences: share of the sentences that hold such a number or name.
- loops: summaries that say the same words {turns} times running, {tokens} tokens or more, or the
  same letters {in_a_word} times in a word."""


def explain_measures(config: Mapping[str, Any]) -> str:
    """Returns what the columns of `measure_rows` are, of a report with this config."""
    explained = MEASURES_EXPLAINED.format(near_duplicate=config["near_duplicate"])
    return explained + (LOOPS_EXPLAINED.format(**config["loop"]) if "loop" in config else "")


def rouge_sections(report: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    """Returns what a report of `eval.rouge` tells.

    Args:
        report: Its values.
        plots: File names of plots, by "rouge", "lengths" and "sections"; some may be missing.
    """
    config, groups = report["config"], report["groups"]
    return [
        "## ROUGE",
        f"{config['n_documents']} papers of the {config['split']} split, all systems on the same "
        f"papers. F1 in percent ({config['rouge']}); ± is half the width of the 95 % bootstrap "
        "interval over documents. Baselines are cut at the mean abstract length of their group. "
        "The share of the gap is (R2 − LexRank's) / (oracle's − LexRank's), with its paired "
        "interval; the oracle, which sees the abstract, is the ceiling of extraction.",
        *_picture("R2 by group", plots.get("rouge")),
        format_markdown(rouge_rows(groups)),
        "## Other measures",
        "Means over documents; numbers and names are counted over all documents of a group. Above "
        "the systems stands what is measured of the abstracts.",
        explain_measures(config),
        format_markdown(measure_rows(groups)),
        "## By length",
        "Tokens of the source are those of the shipped tokenizer.",
        *_picture("R2 by length", plots.get("lengths")),
        format_markdown(length_rows(report["lengths"])),
        "## By kind of section",
        "Share of the sentences picked, in percent, by the kind of section that their heading "
        "tells; above them that of all sentences of the papers.",
        *_picture("Picks by kind of section", plots.get("sections")),
        format_markdown(section_rows(groups)),
    ]


def robustness_sections(
    reports: Sequence[Mapping[str, Any]], plots: Mapping[str, str]
) -> list[str]:
    """Returns what reports of `eval.robustness` tell; none without any."""
    if not reports:
        return []
    parts = [
        "## Clean text, lower case and PDF",
        "Points of ROUGE F1 that the same papers lose in lower-case letters, and as PDF read by "
        "the command `summarize`, with paired 95 % intervals.",
        *_picture("ROUGE-1 lost", plots.get("robustness")),
    ]
    for report in reports:
        config = report["config"]
        parts += [
            f"{config['n_documents']} papers of the {config['split']} split, PDFs "
            f"{config['pdfs']}:",
            format_markdown(loss_rows(report["losses"])),
        ]
    return parts


def training_sections(plots: Mapping[str, str]) -> list[str]:
    """Returns the picture of the losses in training, if one was drawn."""
    picture = _picture("Loss in training", plots.get("history"))
    return ["## Training", *picture] if picture else []


def row_sections(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the tables of reports that hold rows, such as those of `eval.speed`.

    Args:
        reports: Values by file name.
    """
    parts: list[str] = []
    for name, report in reports.items():
        parts.append(f"## {name.removesuffix('.json').replace('-', ' ').capitalize()}")
        parts += [format_markdown(rows) for rows in tables_of(report)]
    return parts


def tables_of(report: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Returns the lists of rows in a report."""
    return [
        value
        for value in report.values()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]


def source_section(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns which command and commit made each report.

    Args:
        reports: Values by file name.
    """
    rows = []
    for name, report in reports.items():
        command = report.get("config", {}).get("command")
        rows.append(
            {
                "report": name,
                "command": f"`{command}`" if command else None,
                "commit": report.get("commit"),
            }
        )
    return ["## How it was made", format_markdown(rows)]


def _picture(text: str, file: str | None) -> list[str]:
    return [f"![{text}]({file})"] if file else []
