"""Road-map sentences, and sentences that only look like them."""

from __future__ import annotations

import pytest

from eval.road_map import is_road_map


@pytest.mark.parametrize(
    "sentence",
    [
        "The rest of this paper is organized as follows.",
        "The remainder of the article proceeds with our data.",
        "This paper is structured as follows: we begin with the data.",
        "In Section 2 we present the model.",
        "Finally, in Section 5, we draw conclusions.",
        "In Section IV, our experiments are described.",
        "Section 3 then describes the corpus.",
        "Sections 3 and 4 present the results.",
        "We begin with notation, and Section 6 concludes the paper.",
        "in section <dig> we discuss the findings.",
    ],
)
def test_road_maps(sentence: str) -> None:
    assert is_road_map(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "We find that sparse attention helps in long papers.",
        "Sections of 5 µm were stained with haematoxylin.",
        "As shown in Section 3, the loss falls.",
        "The paper is light and the ink is not.",
        "There are two appendices; appendix ii contains taxa without threat.",
        "Cells were organized in clusters.",
        "Proteins were cut, and sections 10 µm thick were stored.",
        "This study is the first to follow patients for ten years.",
    ],
)
def test_other_sentences(sentence: str) -> None:
    assert not is_road_map(sentence)
