from __future__ import annotations

import time

import pytest

from terraformer.quotation import quoted


@pytest.mark.parametrize(
    "reference",
    [
        "(Fig. 1C)",
        "(see Figs. 2a,b and 3A–C)",
        "(Supplementary Table S1)",
        "(S1 Fig)",
        "(Figure 4—figure supplement 1C)",
        "(Additional file 1: Table S2)",
        "(Section 3.2)",
        "(Eq. 5)",
        "(Li et al., 2004)",
        "(e.g., Li et al. 2004a,b; Kampinga and Craig, 2010)",
        "(van der Maaten & Hinton, 2008)",
        "(Smith, Jones, and Lee, 2010)",
        "(Fig. 1) (Li et al., 2004)",
        "(Marcus et al., 1993)",
        "(Bengio et al., 2015; Mihaylova & Martins, 2019)",
        "(Smith and Jones 2004)",
        "(Fig1a)",
        "(Table III)",
        "(Fig. 1A; Smith et al., 2010)",
        "(Li et al., 2004, p. 12)",
        "(ref. 12)",
        "( Fig. 1 )",
        "(Özgür et al., 2004)",
        "(Krashen, 1985; Swain and Lapkin, 1995)",
        "(Smith et al., 2010) and (Lee, 2011)",
    ],
)
def test_a_reference_is_taken_out(reference: str) -> None:
    assert quoted(f"The flux fell {reference}.") == "The flux fell."
    assert quoted(f"The flux {reference}, it fell.") == "The flux, it fell."


@pytest.mark.parametrize(
    "sentence",
    [
        "Recently, (Vaswani et al., 2017) proposed the Transformer.",
        "Our implementation is based on (Vaswani et al., 2017).",
        "The energy is calculated using (Eq. 5) and then it is.",
        "We use (Devlin et al., 2019) as our encoder.",
        "Substituting (Eq. 3) into (Eq. 4) gives the bound.",
        "Both (Li et al., 2004) and (Lee, 2010) report gains.",
        "The outbreak (Wuhan, 2019) spread",
        "The treaty (Kyoto, 1997)",
        "Samples were taken twice (Spring, 2012)",
        "The doses differ (Low, 1900; High, 2000).",
        "in one (section A) and another (section B)",
        "a comedy (movie 1) and a drama (movie 2)",
        "Cells were lysed (Fig. 3, 24h) and counted.",
        "− 80 °C freezers kept it.",
        "- 5 °C is cold.",
        "(3) implies that f is continuous.",
        "(ii) follows from Lemma 3.",
        "(b) is the contour plot.",
        "The flux fell (Table 1; p < 0.01), and (2) rose (n = 3).",
        "Li et al. (2004) show that it fell (March, 2010).",
        "We do as in (Li et al., 2004), unlike (Lee, 2010).",
        "(Li et al., 2004) show that it fell.",
        "Values in [0, 1] or [12] of f(x, 2010) (video generation).",
        "The sensor (Illumina, San Diego, CA) (long short-term memory, LSTM) (95% CI 0.33, 1.3).",
        "A. thaliana is kept.",
        "c. elegans and e. coli are kept.",
        "(1) The flux fell; (2) the delta shrank.",
        "The interval (A, 2000) is open",
        "",
    ],
)
def test_what_a_sentence_says_is_kept(sentence: str) -> None:
    assert quoted(sentence) == sentence


@pytest.mark.parametrize("mark", ["•", "-", "–", "(2)", "3)", "iv)", "(a)", "2.", "b."])
def test_a_mark_of_a_list_is_taken_off(mark: str) -> None:
    assert quoted(f"{mark} We measured the flux (n = 3).") == "We measured the flux (n = 3)."


@pytest.mark.parametrize(
    "sentence",
    [
        "(1) The flux fell; (2) the delta shrank.",
        "1) the flux fell and 2) the delta shrank.",
        "c. elegans and e. coli are kept.",
        "A. thaliana is kept.",
        "3 mg were given.",
        "-3 is below zero.",
        "2) (b)",
    ],
)
def test_what_only_looks_like_a_mark_is_kept(sentence: str) -> None:
    assert quoted(sentence) == sentence


@pytest.mark.parametrize(
    "part", ["(A", "(", " ", "a", "A, ", " (Aa, ", "Aa ", " (Fig. 1, ", "1, ", " (A et al., 2004; "]
)
def test_hostile_text_is_read_in_time(part: str) -> None:
    begun = time.perf_counter()
    for before in ("", "x (", "x (Fig. "):
        quoted(before + part * 4000)
    assert time.perf_counter() - begun < 5
