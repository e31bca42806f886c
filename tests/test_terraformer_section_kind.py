from __future__ import annotations

import pytest

from terraformer.section_kind import SectionKind, classify_heading

HEADINGS = {
    SectionKind.INTRODUCTION: ["Introduction", "1 Introduction", "I. INTRODUCTION", "Motivation"],
    SectionKind.BACKGROUND: ["Background", "2. Related Work", "Preliminaries", "Prior work"],
    SectionKind.METHODS: ["Methods", "Materials and methods", "3.1 Model architecture", "Patients"],
    SectionKind.RESULTS: ["Results", "Results and discussion", "IV Experiments", "Ablation study"],
    SectionKind.DISCUSSION: ["Discussion", "5) Discussion", "GENERAL DISCUSSION"],
    SectionKind.CONCLUSION: [
        *("Conclusion", "6. Conclusions and future work", "C ONCLUSION", "Concluding remarks"),
        "Discussion and conclusions",
    ],
    SectionKind.LIMITATIONS: ["Limitations", "Strengths and limitations", "Future work"],
    SectionKind.APPENDIX: ["Appendix A", "Acknowledgements", "Supplementary methods", "Funding"],
    SectionKind.OTHER: ["", "Rivers", "12", "Sediment in the delta"],
}


@pytest.mark.parametrize(
    ("heading", "kind"),
    [(heading, kind) for kind, headings in HEADINGS.items() for heading in headings],
)
def test_headings_tell_their_kind(heading: str, kind: SectionKind) -> None:
    assert classify_heading(heading) is kind
    assert classify_heading(heading.upper()) is kind
