"""Prepare over Ray, on a local cluster of two nodes: the same bytes as on one machine."""

import json
import sys
from pathlib import Path

import pytest

from penchant.contracts import StageContext
from penchant.data import pieces
from penchant.errors import InputError
from penchant.runtime.cluster import Cluster
from penchant.stages import prepare


def test_no_cluster_is_one_clear_line() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"no Ray cluster at '127\.0\.0\.1:1' .*; begin one with `ray start --head`"):
        Cluster(dict, "127.0.0.1:1")


@pytest.mark.slow
def test_two_nodes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(pieces, "_ROWS", 20)
    rows = [{"text": f"The story of number {k}. It was {'very ' * (k % 5)}long. " * (1 + k % 3)} for k in range(300)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"path": str(path), "signals": ["readability"], "segment": "sentence", "near_duplicates": 0.9}

    def run(name: str, **more: object) -> dict[str, bytes]:
        folder = tmp_path / name
        folder.mkdir()
        context = StageContext("prepare", folder, {}, 1, 1, lambda: 0, lambda text: None)
        prepare.run(prepare.Options(**options, **more), context)  # type: ignore[arg-type]
        return {one.name: one.read_bytes() for one in folder.iterdir()}

    here = run("here", workers=1)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    try:
        nodes.wait_for_nodes()
        seen: list[int] = []
        began = Cluster.__init__

        def counted(self: Cluster, *args: object) -> None:
            began(self, *args)  # type: ignore[arg-type]
            seen.extend([len(self.actors), len([node for node in ray.nodes() if node["Alive"]])])

        monkeypatch.setattr(Cluster, "__init__", counted)
        monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
        assert run("there", cluster=nodes.address) == here
        assert seen == [2, 2]
    finally:
        nodes.shutdown()
