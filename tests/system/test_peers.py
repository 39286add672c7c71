"""What ``bench.peers`` says of its figures, without any of the peers."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.common import ROOT, Results, server
from bench.peers import __main__ as peers
from bench.peers import timed
from bench.peers.mixed import CPUS, GIGABYTES, KINDS, Task, bound, most_at_once, workload
from bench.peers.resources import again, figures
from bench.peers.table import NOTES, OURS, notes, plot, ratios
from bench.peers.timed import Run


def results(rows: dict[str, dict[str, float]]) -> Results:
    made = Results("rates")
    for row, columns in rows.items():
        made.add(row, columns)
    return made


RATES = {
    "rq-sched, 8 slots": {"bulk submit/s": 400.0, "drain/s": 50.0, "latency p50, ms": 2.0},
    "rq-sched, 64 slots": {"bulk submit/s": 300.0, "drain/s": 100.0, "latency p50, ms": 3.0},
    "celery 5 (prefork 2)": {"bulk submit/s": 100.0, "drain/s": 10.0, "latency p50, ms": 4.0},
    "dask 2026 (2 × 1)": {"drain/s": 200.0, "latency p50, ms": 1.0},
}


class TestWorkload:
    def test_everybody_gets_the_same(self) -> None:
        assert workload(200) == workload(200)
        assert [task.number for task in workload(200)] == list(range(200))

    def test_it_has_all_kinds(self) -> None:
        assert {(task.cpus, task.gigabytes) for task in workload(200)} == set(KINDS)

    def test_both_resources_are_equally_scarce(self) -> None:
        tasks = workload(2000)
        assert bound(tasks, gigabytes=10**6) == pytest.approx(bound(tasks, cpus=10**6))
        assert bound(tasks) == pytest.approx(2000 * 0.05 * 12 / 8 / CPUS)

    def test_the_bound_is_the_area_of_the_scarcer_resource(self) -> None:
        tasks = [Task(0, 2, 1, 3.0), Task(1, 1, 8, 1.0)]
        assert bound(tasks, cpus=2, gigabytes=32) == 3.5
        assert bound(tasks, cpus=16, gigabytes=2) == 5.5

    def test_the_bound_is_not_below_the_longest_task(self) -> None:
        assert bound([Task(0, 1, 1, 7.0)], CPUS, GIGABYTES) == 7.0


class TestMostAtOnce:
    TASKS = (Task(0, 2, 1, 1.0), Task(1, 1, 4, 1.0), Task(2, 4, 2, 1.0))

    def test_only_what_overlaps_counts_together(self) -> None:
        runs = [Run(0, 1, 0.0, 1.0), Run(1, 2, 0.5, 2.0), Run(2, 1, 1.5, 2.5)]
        assert most_at_once(runs, self.TASKS) == (5, 6)

    def test_an_end_frees_for_a_beginning_at_the_same_instant(self) -> None:
        assert most_at_once([Run(0, 1, 0.0, 1.0), Run(2, 1, 1.0, 2.0)], self.TASKS) == (4, 2)

    def test_a_run_without_an_end_holds_on(self) -> None:
        assert most_at_once([Run(0, 1, 0.0), Run(2, 1, 9.0, 10.0)], self.TASKS) == (6, 3)


class TestRuns:
    def test_a_task_notes_its_run(self, tmp_path: Path) -> None:
        timed.f(str(tmp_path / "runs"), 7, 0.01)
        (run,) = timed.runs(tmp_path / "runs")
        assert run.number == 7
        assert run.ended is not None
        assert run.ended - run.began >= 0.01

    def test_a_run_that_was_cut_off_has_no_end(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text(
            "3 began 1000000000 50\n3 began 4000000000 60\n3 ended 5000000000 60\n4 began 2000000000 50\n"
        )
        assert timed.runs(tmp_path / "runs") == [Run(3, 50, 1.0), Run(4, 50, 2.0), Run(3, 60, 4.0, 5.0)]

    def test_the_program_for_hyperqueue_notes_the_same(self, tmp_path: Path) -> None:
        """Its module can't be imported without the package."""
        source = (ROOT / "bench/peers/app_hyperqueue.py").read_text()
        program = source.split('_SLEEP = """')[1].split('"""')[0]
        subprocess.run(["bash", "-c", program, "bash", str(tmp_path / "runs"), "7", "0.01"], check=True)
        (run,) = timed.runs(tmp_path / "runs")
        assert run.number == 7
        assert run.ended is not None
        assert run.ended - run.began >= 0.01


class TestRecovery:
    STRUCK = (Run(0, 50, 1.0), Run(1, 50, 1.1))

    def test_all_run_again(self) -> None:
        found = [*self.STRUCK, Run(2, 51, 1.2), Run(1, 52, 3.0), Run(0, 53, 4.0)]
        seconds = again(self.STRUCK, found)
        assert figures(self.STRUCK, seconds, killed=2.0) == {
            "struck": 2, "first again after, s": 1.0, "last again after, s": 2.0, "never again": 0,
        }  # fmt: skip

    def test_one_never_does(self) -> None:
        seconds = again(self.STRUCK, [*self.STRUCK, Run(1, 52, 3.0)])
        assert figures(self.STRUCK, seconds, killed=2.0)["never again"] == 1

    def test_none_does(self) -> None:
        assert figures(self.STRUCK, again(self.STRUCK, self.STRUCK), killed=2.0) == {"struck": 2, "never again": 2}


class TestTable:
    def test_the_better_of_ours_is_compared_with_the_best_who_has_the_figure(self) -> None:
        assert ratios(results(RATES)) == [
            "bulk submit/s: 4.00 × celery 5 (prefork 2), 4.00 × celery 5 (prefork 2)",
            "drain/s: 0.50 × dask 2026 (2 × 1), 10.00 × celery 5 (prefork 2)",
            "latency p50, ms: 2.00 × dask 2026 (2 × 1), 0.50 × celery 5 (prefork 2)",
        ]

    def test_alone_there_is_nothing_to_compare(self) -> None:
        assert ratios(results({row: figures for row, figures in RATES.items() if row.startswith(OURS)})) == []

    def test_whoever_is_in_the_table_has_a_note(self) -> None:
        said = notes([OURS, *peers.QUEUES, *peers.RESOURCES])
        for name in (OURS, *peers.QUEUES, *peers.RESOURCES):
            assert any(name in line.partition(":")[0].split(", ") for line in said), name

    def test_whoever_is_not_has_none(self) -> None:
        assert not [line for line in notes([OURS, "dask"]) if line.startswith(("ray", "hyperqueue", "huey"))]
        assert set(NOTES) == {OURS, *peers.RESOURCES}

    def test_the_picture_has_room_for_a_figure_that_is_missing(self, tmp_path: Path) -> None:
        plot(
            results({row: figures | {"submit and run at once/s": 1.0} for row, figures in RATES.items()}),
            tmp_path / "p.png",
        )
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


class TestMissing:
    def test_who_is_not_installed_is_said_and_left_out(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def version(package: str) -> str:
            if package == "ray":
                raise importlib.metadata.PackageNotFoundError(package)
            return "1.0"

        monkeypatch.setattr(peers, "version", version)
        assert peers.versions(["dask", "ray"]) == {"dask": "1.0"}
        assert capsys.readouterr().err == "ray is left out: not installed: pip install -e '.[peers]'\n"

    def test_a_row_that_fails_is_said_and_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        def fails(url: str) -> dict[str, float]:
            raise RuntimeError("no word")

        table = Results("rates")
        assert peers.measured(table, "dask", fails, "off") is None
        assert not table.rows
        assert capsys.readouterr().err == "dask failed: no word\n"

    def test_only_the_extra_for_this_bench_has_them(self) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        packages = {package for package, _ in peers.RESOURCES.values()}
        assert {wanted.partition(">")[0] for wanted in extras["peers"]} == packages
        for extra, wanted in extras.items():
            if extra != "peers":
                assert not [one for one in wanted if "peers" in one or one.startswith(tuple(packages))], extra


def test_each_part_has_its_rows() -> None:
    found = {"celery": "5", "dask": "2026"}
    assert [row for row, _ in peers.rates(found)] == [
        "rq-sched, 8 slots", "rq-sched, 64 slots", "celery 5 (prefork 2)", "celery 5 (2 solo)", "dask 2026 (2 × 1)",
    ]  # fmt: skip
    assert [row for row, _ in peers.mixed(found)] == ["rq-sched", "dask 2026"]
    assert len(list(peers.recovery(found))) == 4


def test_ours_keeps_to_both_resources_and_to_the_bound() -> None:
    port = peers.free_port()
    with server("off", port):
        found = peers.apart(
            "rq_sched", "bench.peers.resources", ["rq_sched", "mixed", "80"], f"redis://127.0.0.1:{port}/0"
        )
    assert found["× bound"] >= 1
    assert 4 <= found["most CPUs"] <= CPUS
    assert 4 <= found["most GB"] <= GIGABYTES


def test_a_process_that_fails_says_why_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers.resources", "nobody", "mixed"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "ModuleNotFoundError: No module named 'bench.peers.app_nobody'\n"
