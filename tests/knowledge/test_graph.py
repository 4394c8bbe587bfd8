"""The graph: triples in and out, entities found, claims judged, facts said, vectors trained."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pyoxigraph")
from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.knowledge.check import Checker
from penchant.knowledge.embed import train
from penchant.knowledge.link import Linker
from penchant.knowledge.open import opened
from penchant.knowledge.say import Claims, phrase, verbalise
from penchant.knowledge.store import LABEL, Graph
from penchant.plugins import plug
from penchant.records import Segment

# Countries with one capital each, cities, and people who speak languages of which they may have many.
CAPITALS = [(f"country{i}", "capital", f"city{i}") for i in range(30)]
SPEAKS = [(f"person{i}", "speaks", f"language{j}") for i in range(30) for j in (i % 5, (i + 1) % 5)]
BORN = [(f"person{i}", "born in", f"city{i % 30}") for i in range(30)]
FACTS = [*CAPITALS, *SPEAKS, *BORN]


def written(path, facts=FACTS):
    path.write_text("".join("\t".join(fact) + "\n" for fact in facts))
    return str(path)


def test_triples_come_out_as_they_went_in(tmp_path):
    odd = [
        ("/m/06rf7", "/location/country/form", "http://x.org/a"),
        ("a b", "is|of", "Zürich 東京 'q'"),
        ("x", LABEL, "A name"),
    ]
    graph = Graph(tmp_path / "store")
    graph.add(odd)
    assert sorted(graph.triples()) == sorted(odd)
    assert odd[1] in graph and ("a b", "is|of", "Zürich") not in graph
    assert list(graph.triples(tail="http://x.org/a")) == [odd[0]]
    graph.add(odd)
    assert len(graph) == 3
    del graph
    assert len(Graph(tmp_path / "store")) == 3


def test_files_of_each_kind_and_what_is_broken(tmp_path):
    (tmp_path / "a.nt").write_text('<urn:a> <urn:b> <urn:c> .\n# a comment\n<urn:a> <urn:b> "x" .\n')
    (tmp_path / "a.ttl").write_text("@prefix : <urn:> .\n:a :b :c, :d .\n")
    graph = Graph()
    assert graph.load(tmp_path / "a.nt") == {"triples": 2}
    assert graph.load(tmp_path / "a.ttl") == {"triples": 1}  # the other is there
    lines = [*("\t".join(f) for f in FACTS), "only two\tfields", "a\t\tb"]
    (tmp_path / "few.tsv").write_text("\n".join(lines * 2) + "\n" + "x\ty\tz\n" * 300)
    assert graph.load(tmp_path / "few.tsv")["2 fields, not 3"] == 2
    (tmp_path / "bad.tsv").write_text("a\tb\tc\nnot a triple\n")
    with pytest.raises(DataRejected, match=r"bad.tsv, row 2: 1 fields, not 3; 1 of 2 lines are broken"):
        graph.load(tmp_path / "bad.tsv")
    (tmp_path / "bad.ttl").write_text("@prefix : <urn:> .\n:a :b\n")
    with pytest.raises(DataRejected, match="broken Turtle"):
        graph.load(tmp_path / "bad.ttl")
    for name, words in (("none.tsv", "no such file"), ("a.csv", "is no file of triples")):
        (tmp_path / "a.csv").write_text("x")
        with pytest.raises(InputError, match=words):
            graph.load(tmp_path / name)


def test_sparql():
    graph = Graph()
    graph.add(FACTS)
    names, rows = graph.query(
        f"SELECT ?c (COUNT(?p) AS ?n) WHERE {{ ?p {graph.iri('speaks')} ?c }} GROUP BY ?c ORDER BY ?c"
    )
    assert names == ["c", "n"] and rows == [[f"language{j}", "12"] for j in range(5)]
    assert graph.query(f"ASK {{ {graph.iri('country1')} {graph.iri('capital')} {graph.iri('city1')} }}")[1] == [
        ["true"]
    ]
    with pytest.raises(InputError, match="SPARQL"):
        graph.query("SELECT WHERE")


def test_the_longest_name_wins_on_word_boundaries():
    linker = Linker(
        [
            ("ny", "New York"),
            ("nyt", "New York Times"),
            ("us", "US"),
            ("we", "us all"),
            ("p1", "Paris"),
            ("p2", "Paris"),
        ]
    )
    text = "The new york times, of New York, told us that Parisian US folk love Paris."
    found = [(text[m.start : m.end], m.entities) for m in linker(text)]
    assert found == [("new york times", ("nyt",)), ("New York", ("ny",)), ("US", ("us",)), ("Paris", ("p1", "p2"))]
    assert [m.entities for m in Linker([("b", "北京")])("我在北京住")] == [("b",)]
    assert Linker([])("anything") == []


def test_verdicts():
    check = Checker(FACTS)
    assert check.functional_relations == ["born in", "capital"]
    assert check("country1", "capital", "city1").what == "supported"
    wrong = check("country1", "capital", "city2")
    assert (wrong.what, wrong.why) == ("contradicted", "functional")
    assert check("person1", "speaks", "language4").what == "unknown"  # merely absent
    assert check("person1", "speaks", "language4").score > 0.5
    assert check("person1", "speaks", "city3").why == "tail type"
    assert check("city3", "speaks", "language1").why == "head type"
    assert check("person99", "speaks", "language1").what == "unknown"  # nobody the graph knows
    assert check("country1", "anthem", "song").what == "unknown"
    few = Checker(FACTS, least=1000)
    assert few("country1", "capital", "city2").what == "unknown"  # too few uses to conclude anything


def test_kinds_that_are_given_stand_for_those_learned():
    kinds = {f"city{i}": ["city"] for i in range(30)} | {f"person{i}": ["human"] for i in range(30)}
    check = Checker(FACTS, kinds)
    assert check("person3", "born in", "person4").what == "contradicted"
    assert check("person31", "speaks", "language4").what == "unknown"


def test_facts_in_words_are_found_again():
    """What is said of each relation that is not ambiguous is read as the same claim."""
    names = {name: name.capitalize() for fact in FACTS for name in (fact[0], fact[2])}
    labels = {"speaks": "language", "born in": "birthplace"}
    claims = Claims(Linker(names.items()), ["capital", "speaks", "born in"], labels)
    for fact, sentence in zip(FACTS, verbalise(FACTS, names, labels), strict=True):
        assert claims(sentence) == [fact]
    assert verbalise([("a", "capital", "b")], {}) == ["The capital of a is b."]
    assert claims("City3 is the capital of Country3. Person1 was happy.") == [("country3", "capital", "city3")]
    assert claims("Country3 has its capital at City3.") == [("country3", "capital", "city3")]
    assert claims("Country3. Capital. City3.") == []
    assert phrase("/tv/tv_program/regular_cast./tv/appearance/actorRole") == "actor role"


def test_texts_and_the_signal(tmp_path):
    data = written(tmp_path / "facts.tsv")
    known = opened([data])
    said = known.consistency(
        "The capital of country1 is city1. The capital of country2 is city1. Person1 speaks language4."
    )
    assert said.counts == {"supported": 1, "contradicted": 1, "unknown": 1} and said.score == 0
    signal = plug("signals", {"name": "knowledge", "graph": data}, Context())
    texts = ("The capital of country1 is city1.", "The capital of country1 is city7.", "Nothing is said.")
    assert signal([Segment(text, 0) for text in texts]) == [1, -1, 0]
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(InputError, match="the knowledge graph is empty"):
        plug("signals", {"name": "knowledge", "graph": str(tmp_path / "empty.tsv")}, Context())


def test_an_ambiguous_name_is_read_in_its_favour(tmp_path):
    """Two cities of one name: that the capital is "Springfield" is supported if one of them is it."""
    data = written(tmp_path / "f.tsv", [*FACTS, ("country30", "capital", "cityA"), ("county", "seat", "cityB")])
    (tmp_path / "n.tsv").write_text("cityA\tSpringfield\ncityB\tSpringfield\ncountry30\tOhio\n")
    found = opened([data], str(tmp_path / "n.tsv")).consistency("The capital of Ohio is Springfield.")
    assert found.counts == {"supported": 1, "contradicted": 0, "unknown": 0}


def test_vectors_rank_held_out_facts_above_others():
    """A world of rules: who lives in a city speaks its language. Part of who speaks what is held out."""
    rng = np.random.default_rng(0)
    home = rng.integers(0, 4, 60)
    lives = [(f"p{i}", "lives", f"c{home[i]}") for i in range(60)]
    speaks = [(f"p{i}", "speaks", f"l{home[i]}") for i in range(60)]
    losses = []
    model = train(
        [*lives, *speaks[:45]], rank=16, epochs=60, batch=64, seed=0, progress=lambda n, loss: losses.append(loss)
    )
    assert losses[-1] < 0.5 * losses[0]
    true, false = speaks[45:], [(p, r, f"l{(int(t[1:]) + 1) % 4}") for p, r, t in speaks[45:]]
    a, b = model.score(true), model.score(false)
    assert (a > b).mean() > 0.9
    assert np.isnan(model.score([("nobody", "speaks", "l0")])).all()
    entities = {**model.entities}
    h, r, t = entities["p0"], model.relations["speaks"], entities["l1"]
    z = [x[:16] + 1j * x[16:] for x in (model.e[h], model.r[r], model.e[t])]
    every = [np.real((z[0] * z[1] * np.conj(x[:16] + 1j * x[16:])).sum()) for x in model.e]
    back = model.r[r + len(model.relations)]
    other = [np.real((z[2] * (back[:16] + 1j * back[16:]) * np.conj(x[:16] + 1j * x[16:])).sum()) for x in model.e]
    wanted = (every[t] - np.log(np.exp(every).sum()) + other[h] - np.log(np.exp(other).sum())) / 2
    assert model.score([("p0", "speaks", "l1")])[0] == pytest.approx(wanted, abs=1e-4)  # eq. 9, written out


def test_the_command(tmp_path):
    written(tmp_path / "facts.tsv")
    (tmp_path / "names.tsv").write_text("country1\tFrance\ncity1\tParis\ncity2\tLyon\n")

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", "penchant", "kg", *words], cwd=tmp_path, capture_output=True, text=True
        )

    assert "123 triples in graph" in call("load", "facts.tsv", "--names", "names.tsv").stderr
    told = json.loads(call("score", "graph", "The capital of France is Lyon.", "--json").stdout)
    assert told[0]["contradicted"] == 1 and told[0]["claims"][0]["why"] == "functional"
    linked = json.loads(call("link", "graph", "Paris or Lyon", "--json").stdout)
    assert [m["entities"] for m in linked] == [["city1"], ["city2"]]
    (tmp_path / "bad.tsv").write_text("no triple\n")
    broken = call("load", "facts.tsv", "bad.tsv", "--store", "other")
    assert broken.returncode == 4 and "bad.tsv, row 1" in broken.stderr and not (tmp_path / "other").exists()
    wrong = call("score", "nowhere.tsv", "x")
    assert (
        wrong.returncode == 2 and wrong.stderr.strip() == "penchant: nowhere.tsv: no such file; give .tsv, .nt or .ttl"
    )
