"""Characters of TeX's mathematical fonts, whose codes PDF files often pass on unnamed.

Source: Knuth, Computer Modern Typefaces (1986), font tables of cmmi10, cmsy10 and cmex10.
"""

from __future__ import annotations

_ITALIC = {0x60: "ℓ"} | {0x0B + i: c for i, c in enumerate("αβγδϵζηθικλμνξπρστυφχ")}
_SYMBOL = {ord(code): c for code, c in zip("bcdefghijk", "⌊⌋⌈⌉{}⟨⟩|‖", strict=True)} | {
    0x0D: "◯",
    0x1C: "≪",
}
_EXTENSION = {
    **dict.fromkeys((0x00, 0x10, 0x12), "("),
    **dict.fromkeys((0x01, 0x11, 0x13), ")"),
    **dict.fromkeys((0x02, 0x14), "["),
    **dict.fromkeys((0x03, 0x15), "]"),
    **dict.fromkeys((0x08, 0x1A), "{"),
    **dict.fromkeys((0x09, 0x1B), "}"),
    **{0x0C: "|", 0x0D: "‖"},
}
_TABLES = {"CMMI": _ITALIC, "CMSY": _SYMBOL, "CMEX": _EXTENSION}


def character_table(font_name: str) -> dict[int, str]:
    """Returns what the codes of a font mean where the font says otherwise or nothing.

    Args:
        font_name: Name of the font in the PDF, with or without the tag of a subset.
    """
    return _TABLES.get(font_name.rpartition("+")[2][:4], {})
