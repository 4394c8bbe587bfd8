import pytest

from penchant.data.language import guess_language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was the best of times, it was the worst of times", "en"),
        ("Es war einmal ein König, der hatte eine Tochter, und die war sehr schön", "de"),
        ("Il était une fois une petite fille qui habitait dans la forêt avec sa mère", "fr"),
        ("天地玄黄，宇宙洪荒。", "zh"),
        ("昔々あるところにおじいさんとおばあさんが", "ja"),
        ("12345 !!", "und"),
        ("xyzzy plugh", "und"),
    ],
)
def test_guess(text: str, expected: str) -> None:
    assert guess_language(text) == expected


def test_python_by_name() -> None:
    assert guess_language("the and of", "a/b.py") == "python"
    assert guess_language("the and of", "a/b.jsonl#3") == "en"
