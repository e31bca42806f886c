import io
import json
import os
import re
import textwrap
import zlib
from collections import Counter
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from app.readers import pdf, read_document
from app.readers.pdf import PdfLimits, read_pdf
from terraformer.errors import DocumentError
from terraformer.section_kind import SectionKind

LEFT, RIGHT = 60, 320  # left edges of two columns on a page of 612 × 792
ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def pdf_bytes(pages, compress=False):
    """Returns a PDF; a page is a list of (x, y, size, text) or (x, y, size, text, "bold"), or raw
    content as bytes."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (5 + 2 * i) for i in range(len(pages)))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    ]
    for i, page in enumerate(pages):
        content = page if isinstance(page, bytes) else b"\n".join(map(_show, page))
        extra = b""
        if compress:
            content, extra = zlib.compress(content), b" /Filter /FlateDecode"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (6 + 2 * i)
        )
        objects.append(
            b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(content), extra, content)
        )
    file = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(file)


def _show(item):
    x, y, size, text = item[:4]
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252")
    font = b"F2" if item[4:] else b"F1"
    return b"BT /%s %d Tf 1 0 0 1 %d %d Tm (%s) Tj ET" % (font, size, x, y, escaped)


def sentences(n, subject="finding"):
    """Returns n different sentences."""
    return [
        f"The {subject} {ONES[i // 100]} {ONES[i // 10 % 10]} {ONES[i % 10]} holds for every "
        "sample that the laboratory has measured in the field."
        for i in range(n)
    ]


def column(text, x, top, width=44, size=10, leading=12):
    """Returns the items of a text that is wrapped into a column."""
    return [
        (x, top - leading * i, size, line)
        for i, line in enumerate(textwrap.wrap(text, width, break_on_hyphens=False))
    ]


def read(tmp_path, pages, **options):
    path = tmp_path / "paper.pdf"
    path.write_bytes(pages if isinstance(pages, bytes) else pdf_bytes(pages))
    return read_document(path, **options)


def two_column_pages():
    told = sentences(60)
    lines = textwrap.wrap(" ".join(told), 44)
    per_column = 40
    chunks = [lines[i : i + per_column] for i in range(0, len(lines), per_column)]
    abstract = " ".join(sentences(5, "abstract"))
    first = [
        (120, 740, 18, "On the Reading of Columns", "bold"),
        (150, 715, 10, "Ann Author"),
        (400, 715, 10, "Bob Author"),
        (280, 690, 12, "Abstract", "bold"),
        *column(abstract, LEFT, 672, width=95),
        (LEFT, 590, 12, "1 Introduction", "bold"),
    ]
    pages = [first, []]
    tops = [(0, LEFT, 570), (0, RIGHT, 590), (1, LEFT, 740), (1, RIGHT, 740)]
    for (page, x, top), chunk in zip(tops, chunks, strict=False):
        pages[page] += [(x, top - 12 * i, 10, line) for i, line in enumerate(chunk)]
    assert len(chunks) <= len(tops)
    for number, page in enumerate(pages, start=1):
        page += [(LEFT, 775, 9, "Journal of Readers, volume 7"), (300, 30, 9, str(number))]
    pages[1] += [
        (RIGHT, 300, 12, "References", "bold"),
        *column("[1] A. Author. A study of other things. Journal of Things, 2001.", RIGHT, 280),
        (RIGHT, 200, 12, "A Proofs", "bold"),
        *column("The appendix proves what was left to prove in the text.", RIGHT, 180),
    ]
    return told, abstract, pages


def test_two_columns_are_read_in_order(tmp_path):
    told, abstract, pages = two_column_pages()
    document = read(tmp_path, pages)
    assert document.title == "On the Reading of Columns"
    assert document.abstract == abstract
    assert [section.heading for section in document.sections] == ["1 Introduction", "A Proofs"]
    assert [s.text for s in document.sentences if s.section == 0] == told
    assert document.sentences[-1].text.startswith("The appendix proves")
    assert document.sentences[-1].section == 1


def test_sentences_know_their_page_and_span(tmp_path):
    _, _, pages = two_column_pages()
    document = read(tmp_path, pages)
    assert document.n_pages == 2
    assert {sentence.page for sentence in document.sentences} == {1, 2}
    found = [sentence.page for sentence in document.sentences]
    assert found == sorted(found)
    for sentence in document.sentences:
        assert document.text[sentence.start : sentence.end] == sentence.text
        on_page = " ".join(item[3] for item in pages[sentence.page - 1])
        assert " ".join(sentence.text.split()[:4]) in on_page


def test_the_abstract_can_be_kept(tmp_path):
    _, abstract, pages = two_column_pages()
    document = read(tmp_path, pages, keep_abstract=True)
    assert document.abstract is None
    assert document.sections[0].heading == "Abstract"
    assert " ".join(s.text for s in document.sentences if s.section == 0) == abstract


def test_hyphens_at_line_ends_are_mended(tmp_path):
    lines = [
        "An example is the state-of-the-art method that we use, and a sec-",
        "ond exam-",
        "ple is the low-",
        "dimensional case. The low-dimensional case is a state-of-the-",
        "art problem for transform-",
        "ers.",
    ]
    padding = [(60, 500 - 12 * i, 10, line) for i, line in enumerate(sentences(8))]
    page = [(60, 700 - 12 * i, 10, line) for i, line in enumerate(lines)]
    text = read(tmp_path, [page + padding]).text
    assert "a second example is the low-dimensional case." in text
    assert "a state-of-the-art problem for transformers." in text


def test_line_numbers_go(tmp_path):
    told = sentences(20)
    lines = column(" ".join(told), 80, 740, width=90)
    numbers = [(40, item[1], 8, str(i)) for i, item in enumerate(lines, start=101)]
    document = read(tmp_path, [lines + numbers])
    assert [sentence.text for sentence in document.sentences] == told


def test_captions_and_formulas_do_not_break_sentences(tmp_path):
    before = "We measure the length of the river and find that it"
    after = "grows with the rain that falls on the hills in the spring of the year."
    page = [
        *column(" ".join(sentences(6)), 60, 740, width=90),
        (60, 600, 10, before + " is longer than the river of the other valley and"),
        (250, 575, 10, "y = 3x + 2z - 7"),
        (60, 540, 10, "Figure 1: The river and its valley from above, as seen in the spring."),
        (60, 500, 10, after),
    ]
    document = read(tmp_path, [page])
    texts = [sentence.text for sentence in document.sentences]
    assert f"{before} is longer than the river of the other valley and {after}" in texts
    assert "Figure 1: The river and its valley from above, as seen in the spring." in texts
    assert not any("3x" in text for text in texts)


def test_long_documents_report_their_progress(tmp_path):
    calls = []
    pages = [
        [*column(sentence, 60, 700, width=80), (300, 30, 9, str(i + 1))]
        for i, sentence in enumerate(sentences(200))
    ]
    document = read(tmp_path, pages, progress=lambda *call: calls.append(call))
    assert calls == [("reading", i, 200) for i in range(1, 201)]
    assert [sentence.text for sentence in document.sentences] == sentences(200)
    assert [sentence.page for sentence in document.sentences] == list(range(1, 201))
    assert document.notes == ()


def test_pages_without_text_are_named(tmp_path):
    page = column(" ".join(sentences(6)), 60, 700, width=90)
    document = read(tmp_path, [page, b"0 0 100 100 re f", page, b"", b""])
    assert document.notes == ("no text was found on pages 2, 4–5",)


@pytest.mark.parametrize(
    ("limits", "unread"),
    [(PdfLimits(max_pages=3), "pages 4–5"), (PdfLimits(max_chars=1500), "pages 3–5")],
    ids=["pages", "characters"],
)
def test_what_a_limit_cuts_is_told(tmp_path, limits, unread):
    path = tmp_path / "long.pdf"
    path.write_bytes(pdf_bytes([column(" ".join(sentences(6)), 60, 700, width=90)] * 5))
    document = read_pdf(path, name="long.pdf", limits=limits)
    assert document.n_pages == 5
    assert len(document.notes) == 1
    assert document.notes[0].startswith(f"{unread} not read")


@pytest.mark.parametrize("user_password", ["secret", ""])
def test_encrypted_files(tmp_path, user_password):
    told = sentences(8)
    plain = pdf_bytes([column(" ".join(told), 60, 700, width=90)])
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(plain)))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    stream = io.BytesIO()
    writer.write(stream)
    if user_password:
        with pytest.raises(DocumentError, match=r"paper\.pdf is encrypted: .*without its password"):
            read(tmp_path, stream.getvalue())
    else:
        document = read(tmp_path, stream.getvalue())
        assert [sentence.text for sentence in document.sentences] == told


SCAN = b"q 612 0 0 792 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"Only some text.\n", "is not a PDF although its name says so"),
        (b"%PDF-1.4\nand then nothing of the kind", "is damaged"),
        (pdf_bytes([SCAN]), "probably a scan: run it through OCR"),
    ],
    ids=["empty", "text", "damaged", "scan"],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(DocumentError, match=message) as raised:
        read(tmp_path, content)
    assert "\n" not in str(raised.value)
    assert "paper.pdf" in str(raised.value)


def test_a_stalled_child_is_stopped(tmp_path):
    path = tmp_path / "slow.pdf"
    path.write_bytes(pdf_bytes([column(sentences(1)[0], 60, 700)]))
    with pytest.raises(DocumentError, match="took too long"):
        read_pdf(path, name="slow.pdf", limits=PdfLimits(max_stall_seconds=0.0))


def test_a_bomb_ends_with_the_child(tmp_path):
    path = tmp_path / "bomb.pdf"
    path.write_bytes(pdf_bytes([b" " * (200 << 20)], compress=True))
    with pytest.raises(DocumentError):
        read_pdf(path, name="bomb.pdf", limits=PdfLimits(max_memory=256 << 20))


def test_pypdf_reads_on_where_pdfium_fails(tmp_path, monkeypatch):
    told = sentences(12)
    path = tmp_path / "paper.pdf"
    page = [column(" ".join(told[i : i + 4]), 60, 700, width=90) for i in (0, 4, 8)]
    path.write_bytes(pdf_bytes(page))
    messages = pdf._messages

    def failing(arguments, reading, limits):
        for message in messages(arguments, reading, limits):
            if arguments[0] == "pdfium" and message.get("page") == 2:
                return
            yield message

    monkeypatch.setattr(pdf, "_messages", failing)
    document = read_pdf(path, name="paper.pdf")
    assert [sentence.text for sentence in document.sentences] == told
    assert document.notes == ()


PDFS = Path(
    os.environ.get("TERRAFORMER_PDFS") or Path(__file__).resolve().parents[1] / "../shared/pdfs"
)


def papers():
    index = PDFS / "index.jsonl"
    if not index.exists():
        mark = pytest.mark.skip(f"no index.jsonl in TERRAFORMER_PDFS ({PDFS})")
        return [pytest.param(None, id="missing", marks=mark)]
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    return [pytest.param(row, id=row["file"].removesuffix(".pdf")) for row in rows]


def odd_files():
    files = sorted((PDFS / "sample-files").rglob("*.pdf"))
    mark = pytest.mark.skip(f"no sample-files in TERRAFORMER_PDFS ({PDFS})")
    missing = pytest.param(None, id="missing", marks=mark)
    return [pytest.param(file, id=file.stem) for file in files] or [missing]


def words(text):
    """The words of two letters or more, those that formulas are made of aside."""
    return Counter(re.findall(r"[a-z]{2,}", text.lower()))


@pytest.mark.parametrize("paper", papers())
def test_papers(paper):
    document = read_document(PDFS / paper["file"])
    assert words(document.title) == words(paper["title"])
    found, known = words(document.abstract or ""), words(paper["abstract"])
    n_shared = (found & known).total()
    assert n_shared > 0.9 * known.total()
    assert n_shared > 0.9 * found.total()
    kinds = [section.kind for section in document.sections]
    assert kinds[0] is SectionKind.INTRODUCTION
    assert {SectionKind.CONCLUSION, SectionKind.DISCUSSION} & set(kinds)
    assert not any("references" in section.heading.lower() for section in document.sections)
    assert len(document.sections) > 5
    assert document.n_words > 3500
    # Prose broken by columns, pages or formulas would leave many sentences without an end.
    n_ended = sum(sentence.text[-1] in ".?!:;”)" for sentence in document.sentences)
    assert n_ended > 0.85 * len(document.sentences)
    assert all(1 <= sentence.page <= document.n_pages for sentence in document.sentences)


@pytest.mark.parametrize("file", odd_files())
def test_odd_files_are_read_or_refused(file):
    try:
        document = read_document(file)
    except DocumentError as error:
        message = str(error)
    else:
        assert document.sentences
        return
    assert file.name in message
    assert "\n" not in message
