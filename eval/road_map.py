"""Sentences that tell what stands where in a paper, which no summary needs."""

from __future__ import annotations

import re

_PAPER = r"(?:paper|article|manuscript|chapter|survey|review|report|thesis|work|study)"
_NUMBER = r"(?:\d+(?:\.\d+)*|[ivx]+\b|<dig>)"
_SECTION = rf"(?:sections?|secs?\.|chapters?|§+)\s*{_NUMBER}"
_TELLS = (
    r"(?:(?:present|describe|introduce|discusse?|review|give|provide|outline|explain|conclude|report|"
    r"propose|studie|study|analy[sz]e|show|evaluate|prove|define|survey|summari[sz]e|derive|state|"
    r"recall|detail|formulate|consider|illustrate|compare|examine|investigate|develop|applie|"
    r"apply|demonstrate|establishe?|extend|end|contain|cover|deal|addresse?|explore|offer|turn|"
    r"close|finishe?|draw|deploy|list|focuse?)s?|is|are)"
)
_ROAD_MAP = re.compile(
    rf"\b(?:remainder|rest) of (?:the|this|our) (?:present |current )?{_PAPER}\b"
    rf"|\b{_PAPER} (?:is|are) (?:then |further )?(?:organi[sz]ed|structured|laid out|arranged|"
    r"divided|outlined)\b"
    r"|\b(?:organi[sz]ed|structured) as follows\b"
    # "In Section 2, we present …", "Section 3 then describes …", "… and Section 5 concludes".
    rf"|^(?:\w+,? )?in {_SECTION}[^.;]{{0,30}}?,? (?:we|our|the authors)\b"
    rf"|(?:^|[,;] (?:and |while |whereas )?)(?:\w+,? )?{_SECTION}"
    rf"(?:,? (?:and|to|–) (?:section )?{_NUMBER})? (?:then |also |briefly |further )?{_TELLS}\b",
    re.IGNORECASE,
)


def is_road_map(sentence: str) -> bool:
    """Whether a sentence tells the order of the paper, as "Section 2 describes the data" does."""
    return _ROAD_MAP.search(sentence.strip()) is not None
