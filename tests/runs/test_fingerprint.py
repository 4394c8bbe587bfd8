"""A fingerprint changes with all that decides a stage's result."""

from penchant.runs.fingerprint import fingerprint, paths_hash
from penchant.runs.recipe import load_recipe


def test_an_edited_plug_in_of_ones_own_changes_the_fingerprint(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("one = 1\n")
    words = ["tuned.rewards=[{name: " + str(path) + "}]"]
    recipe = load_recipe("smoke", words, environment={})

    def of(stage):
        return fingerprint(recipe, recipe.stages[stage], 1, {}, "0")

    before, other = of("tuned"), of("mle")
    path.write_text("one = 2\n")
    assert of("tuned") != before
    assert of("mle") == other


def test_folders_beside_the_standard_library_count(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = paths_hash(["stdlib", str(tmp_path)])
    (tmp_path / "a.py").write_text("x = 2\n")
    assert paths_hash(["stdlib", str(tmp_path)]) != before
    assert paths_hash(["stdlib"]) == paths_hash(["stdlib"])
