"""Cores and memory are read from affinity and control groups, v1 and v2, own group and those around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penchant import machine

GIB = 1 << 30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system of control groups of our own, with eight cores and 16 GB free."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN", tmp_path / "own")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {16 * GIB >> 10} kB\n")
    return tmp_path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_without_control_groups_it_is_affinity_and_free_memory(groups: Path) -> None:
    assert machine.cores() == 8
    assert machine.memory_available() == 16 * GIB
    assert (machine.memory_limit() or 0) > 0


def test_version_2_counts_every_group_around_ours(groups: Path) -> None:
    (groups / "own").write_text("0::/outer/inner\n")
    write(groups / "cgroup", cgroup__controllers="cpu memory")
    stat = "inactive_file 1073741824\nanon 5"
    write(groups / "cgroup/outer", cpu__max="250000 100000", memory__max=4 * GIB, memory__current=3 * GIB)
    write(groups / "cgroup/outer/inner", cpu__max="max 100000", memory__max="max", memory__current=GIB)
    assert machine.cores() == 2
    assert machine.memory_limit() == 4 * GIB
    assert machine.memory_available() == GIB
    write(groups / "cgroup/outer", memory__stat=stat)  # file cache goes when memory is wanted
    assert machine.memory_available() == 2 * GIB


def test_version_1_in_a_container_looks_at_its_own_root(groups: Path) -> None:
    (groups / "own").write_text("4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n")
    write(groups / "cgroup/memory", memory__limit_in_bytes=2 * GIB, memory__usage_in_bytes=GIB >> 1)
    write(groups / "cgroup/cpu", cpu__cfs_quota_us=50000, cpu__cfs_period_us=100000)
    assert machine.cores() == 1
    assert machine.memory_limit() == 2 * GIB
    assert machine.memory_available() == (2 * GIB) - (GIB >> 1)


def test_no_limit_is_no_limit(groups: Path) -> None:
    (groups / "own").write_text("4:memory:/\n2:cpu:/\n")
    write(groups / "cgroup/memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=GIB)
    write(groups / "cgroup/cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert machine.cores() == 8
    assert machine.memory_available() == 16 * GIB
