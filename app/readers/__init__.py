"""Document readers: files, pasted text and standard input become a `Document`."""

from app.readers.source import read_document, read_text

__all__ = ["read_document", "read_text"]
