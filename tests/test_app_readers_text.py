import io
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.readers import read_document, read_text
from terraformer.errors import DocumentError

PLAIN = """On the Reading of Texts

Ann Author, University of Tests
ann@tests.example

ABSTRACT

We read texts. This is the abs-
tract of a paper that reads texts, and it is long enough to be one, as it says
what was done and what came of it. The abstract has three sentences.

1 Introduction

Texts are read by Smith et al. (2001) and in Fig. 3 of the report. A para-
graph may be wrapped
at any place.

Another paragraph follows.

2.1 Results

The results are good, e.g. on paragraph 7.

References

[1] A. Author. A study of other things. Journal of Things, 2001.

[2] B. Author. A study of some things. Journal of Things, 2002.

Appendix

What is left is told here.
"""

MARKDOWN = """---
author: somebody
---
# A Title with *Emphasis*

## Abstract

This is the abstract, in **bold** words, and it is set aside by the reader.

## Introduction

See the [manual](https://example.org/a_(b)) and `code`, as __well__ as snake_case_names.

![a picture](figure.png)

```python
# not a heading
print("dropped")
```

| a | b |
|---|---|
| 1 | 2 |

Setext Heading
--------------

- The first item is a sentence.
- The second item is
  another one.

## References

- Somebody, 2001.

### Books

- Somebody, 2002.

## Appendix

The end.
"""

HTML = """<!DOCTYPE html><html><head><title>Page title</title><style>p {}</style></head><body>
<nav><p>Home</p></nav><h1>The Title</h1><h2>Introduction</h2>
<p>First &amp; foremost, a<br>sentence.<script>var p = "<p>no</p>";</script></p>
<ul><li>An item that is told.</li></ul><h2>Method</h2>
<div>The method is a <em>simple</em> one.</div>
<figure><p>Not this.</p></figure><h2>References</h2><p>Somebody, 2001.</p></body></html>"""


def headings(document):
    return [section.heading for section in document.sections]


def texts(document):
    return [sentence.text for sentence in document.sentences]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_plain_text():
    document = read_text(PLAIN)
    assert document.title == "On the Reading of Texts"
    assert document.abstract.startswith("We read texts. This is the abstract of a paper")
    assert headings(document) == ["1 Introduction", "2.1 Results", "Appendix"]
    assert texts(document) == [
        "Texts are read by Smith et al. (2001) and in Fig. 3 of the report.",
        "A paragraph may be wrapped at any place.",
        "Another paragraph follows.",
        "The results are good, e.g. on paragraph 7.",
        "What is left is told here.",
    ]
    assert {sentence.page for sentence in document.sentences} == {None}


def test_the_abstract_can_be_kept():
    document = read_text(PLAIN, keep_abstract=True)
    assert document.abstract is None
    assert headings(document)[0] == "Abstract"
    assert texts(document)[0] == "We read texts."


def test_markdown():
    document = read_text(MARKDOWN, is_markdown=True)
    assert document.title == "A Title with Emphasis"
    assert document.abstract == (
        "This is the abstract, in bold words, and it is set aside by the reader."
    )
    assert headings(document) == ["Introduction", "Setext Heading", "Appendix"]
    assert texts(document) == [
        "See the manual and code, as well as snake_case_names.",
        "The first item is a sentence.",
        "The second item is another one.",
        "The end.",
    ]


def test_html(tmp_path):
    document = read_document(write(tmp_path, "page.html", HTML))
    assert document.title == "The Title"
    assert headings(document) == ["Introduction", "Method"]
    assert texts(document) == [
        "First & foremost, a sentence.",
        "An item that is told.",
        "The method is a simple one.",
    ]


def test_headings_set_apart_by_small_capitals():
    document = read_text(
        "A BSTRACT\n\nWe say what we do in this paper and what came of it in the end.\n\n"
        "1 I NTRODUCTION\n\nIt begins.\n\nA P ROOFS\n\nIt ends.\n"
    )
    assert headings(document) == ["1 INTRODUCTION", "A PROOFS"]
    assert document.abstract.startswith("We say")


def test_the_parts_of_a_structured_abstract_belong_to_it():
    parts = [
        f"## {name}\n\nThis part of the abstract tells one thing in some words."
        for name in ("Background", "Methods", "Results", "Conclusions")
    ]
    text = "# T\n\n# Abstract\n\n" + "\n\n".join(parts) + "\n\n# Introduction\n\nIt begins here."
    document = read_text(text, is_markdown=True)
    assert document.abstract.count("This part") == 4
    assert texts(document) == ["It begins here."]


def test_a_short_abstract_ends_at_the_next_heading():
    text = "# T\n\n## Abstract\n\nA short one that says it all at once.\n\n## Model\n\nIt is small."
    document = read_text(text, is_markdown=True)
    assert document.abstract == "A short one that says it all at once."
    assert texts(document) == ["It is small."]


def test_an_abstract_without_a_heading_is_found():
    abstract = "We show that texts can be read without a heading above their abstract. " * 5
    document = read_text(f"A Title\n\n{abstract}\n\nIntroduction\n\nIt begins here.\n")
    assert document.abstract == abstract.strip()
    assert texts(document) == ["It begins here."]


def test_line_numbers_go():
    told = " ".join(f"The sample {word} was measured twice." for word in "abcdefgh" * 3)
    lines = textwrap.wrap(told, 40)
    numbered = "\n".join(f"{i:4d}  {line}" for i, line in enumerate(lines, start=17))
    assert texts(read_text(numbered)) == texts(read_text("\n".join(lines)))


def test_numbers_that_count_nothing_stay():
    text = "\n".join(
        f"{year} samples were taken that year." for year in (7, 3, 9, 1, 4, 4, 8, 2, 5)
    )
    assert "9 samples" in read_text(text).text


def test_standard_input(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(PLAIN.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read_document("-") == read_text(PLAIN)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path, "text.txt", "Poincaré wrote “this” sentence.".encode(encoding))
    document = read_document(path)
    assert texts(document) == ["Poincaré wrote “this” sentence."]
    assert bool(document.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\n", "is empty"),
        ("binary.txt", bytes(range(256)) * 8, "is not text"),
        ("office.docx", b"PK\x03\x04rest", "zip archive or an office document"),
        ("formulas.txt", b"= + -\n\n1 2 3\n", "holds no text"),
        ("abstract.txt", b"Abstract\n\nThis abstract is all that the file has in it.\n", "only an"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    with pytest.raises(DocumentError, match=message) as raised:
        read_document(write(tmp_path, name, content))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(DocumentError, match="does not exist"):
        read_document(tmp_path / "missing.pdf")
    with pytest.raises(DocumentError, match="is a folder"):
        read_document(tmp_path)
    with pytest.raises(DocumentError, match="the text is empty"):
        read_text("  \n")


@given(st.text(max_size=400), st.booleans())
def test_any_text_is_read_or_refused(text, is_markdown):
    try:
        document = read_text(text, is_markdown=is_markdown)
    except DocumentError:
        return
    for sentence in document.sentences:
        assert document.text[sentence.start : sentence.end] == sentence.text
        assert sentence.text.strip()


def test_a_title_may_begin_with_an_article_and_an_abstract_may_be_one_line() -> None:
    document = read_text(
        "A Study of Rivers\n\nAbstract\n\nRivers run.\n\n1 Introduction\n\nWe study how rivers run."
    )
    assert document.title == "A Study of Rivers"
    assert document.abstract == "Rivers run."
    assert [sentence.text for sentence in document.sentences] == ["We study how rivers run."]
