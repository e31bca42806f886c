"""Numbers and names without support in the source, counted by hand."""

from __future__ import annotations

from eval.support import measure_support
from terraformer.support import SourceSupport


def test_what_the_source_lacks_is_counted() -> None:
    source = SourceSupport("In Basel, 1,200 patients took aspirin (0.5 mg). The bert model failed.")
    measures = measure_support(
        source,
        ["We saw 1200 patients in Basel and 13 in Zurich.", "They took 0.50 mg; BERT failed."],
    )
    assert measures == {
        "numbers": 3,
        "unsupported_numbers": 1,
        "names": 3,
        "unsupported_names": 1,
        "sentences": 2,
        "unsupported_sentences": 1,
    }


def test_what_is_copied_is_supported() -> None:
    sentences = ["Rats at 3.5 % died in Rome.", "NASA said 12,000."]
    measures = measure_support(SourceSupport(" ".join(sentences)), sentences)
    assert (measures["numbers"], measures["names"]) == (2, 2)
    assert measures["unsupported_numbers"] == measures["unsupported_names"] == 0


def test_repeated_numbers_count_each_time() -> None:
    measures = measure_support(SourceSupport("Nothing."), ["It was 7, then 7.", "In all, 7."])
    assert (measures["numbers"], measures["unsupported_numbers"]) == (3, 3)
    assert (measures["sentences"], measures["unsupported_sentences"]) == (2, 2)
