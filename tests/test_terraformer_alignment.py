from __future__ import annotations

from terraformer.alignment import MAX_SOURCES, Alignment

SENTENCES = [
    "Rivers carry sediment from the mountains to the sea.",
    "We measured turbidity at 42 stations along the Danube.",
    "The flux of sediment fell by 0.35 below every dam.",
    "Turbidity was measured with optical sensors in the Danube for eight years.",
    "In this paper we ask what comes next.",
]


def test_a_copied_sentence_has_itself_behind_it() -> None:
    alignment = Alignment(SENTENCES)
    for i, sentence in enumerate(SENTENCES[:4]):
        assert alignment.sources(sentence)[0] == i


def test_a_fused_sentence_has_all_its_parts_behind_it() -> None:
    alignment = Alignment(SENTENCES)
    written = "Turbidity at 42 stations shows that the flux of sediment fell below every dam."
    assert sorted(alignment.sources(written)) == [1, 2]
    written = "Turbidity was measured at 42 stations of the Danube with optical sensors."
    assert alignment.sources(written) == (1, 3)
    # All of this is in the first: that the other one has half of it too is no matter.
    assert alignment.sources(written.replace(" with optical sensors", "")) == (1,)


def test_numbers_tell_sentences_apart() -> None:
    sentences = [f"The flux of sediment fell by 0.{i} below every dam." for i in range(11, 40)]
    assert Alignment(sentences).sources("The flux fell by 0.35.") == (24,)


def test_what_has_little_in_common_is_no_source() -> None:
    alignment = Alignment(SENTENCES)
    assert alignment.sources("Neural networks translate languages and classify images.") == ()
    assert alignment.sources("It was so.") == ()
    assert alignment.sources("") == ()


def test_sources_are_few_and_the_first_of_equals() -> None:
    words = "otter heron salmon beaver mayfly".split()
    alignment = Alignment([f"The {word} swims." for word in words] * 2)
    found = alignment.sources("The otter, heron, salmon, beaver and mayfly.")
    assert len(found) == MAX_SOURCES
    assert max(found) < len(words)


def test_a_document_of_one_sentence() -> None:
    assert Alignment(["Rivers flow."]).sources("Rivers flow.") == (0,)
    assert Alignment(["?"]).sources("Rivers flow.") == ()
