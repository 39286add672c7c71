"""What others paid for (repository#issue): each is tried by a test, or a page says why it can't occur.

The table is complete: it holds every case of the list that the project began with.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "testing-of-rq-sched.md"
CANNOT = "docs/testing-of-rq-sched.md"
STOP = "tests/worker/test_stop.py"
SENTINEL = "tests/faults/test_sentinel.py"

CASES = {
    # lost or stuck
    "asynq#1144": "tests/faults/test_simulation.py::test_whatever_goes_wrong_the_invariants_hold",
    "rq#2015": "tests/faults/test_two_schedulers.py::test_a_scheduler_and_a_node_are_killed_midway",
    "rq#944": "tests/lua/test_nodes.py::test_a_heartbeat_that_runs_out_gives_the_tasks_back",
    "arq#343": "tests/lua/test_nodes.py::test_a_heartbeat_that_runs_out_gives_the_tasks_back",
    "arq#402": "tests/worker/test_deaths.py::test_parent_and_agent_are_killed",
    "arq#407": "tests/worker/test_deaths.py::test_the_agent_is_killed",
    "kombu#1190": CANNOT,
    "celery#7950": f"{STOP}::test_a_worker_that_is_stopped_gives_back_what_does_not_end",
    "sidekiq#843": CANNOT,
    "sidekiq#1841": CANNOT,
    "oban#862": "tests/lua/test_nodes.py::test_a_new_incarnation_has_a_ledger_of_its_own",
    "sidekiq#5540": "tests/lua/test_nodes.py::test_a_slow_scheduler_still_finds_the_dead",
    "river#1318": "tests/lua/test_nodes.py::test_a_big_node_is_reaped_in_batches",
    "airflow#45636": "tests/faults/test_order.py::test_what_fits_nowhere_blocks_nobody_and_runs_when_it_can",
    "dask#9587": "tests/lua/test_life.py::test_infeasible_blocks_nobody_and_runs_when_a_node_fits",
    "ray#45909": "tests/lua/test_explain.py::test_too_large_for_any_node",
    "pulpcore#7900": "tests/faults/test_order.py::test_what_fits_nowhere_blocks_nobody_and_runs_when_it_can",
    # a stale writer, twice
    "river#1302": "tests/lua/test_life.py::test_a_report_sent_again_changes_nothing",
    "solid_queue#761": "tests/lua/test_life.py::test_a_report_sent_again_changes_nothing",
    "sidekiq#4611": "tests/lua/test_nodes.py::test_a_heartbeat_in_time_keeps_it_alive",
    "dramatiq#692": "tests/faults/test_chaos.py::test_chaos",
    "airflow#25843": "tests/faults/test_simulation.py::test_whatever_goes_wrong_the_invariants_hold",
    "redis-py#3554": "tests/faults/test_lost_redis.py::test_lines_that_are_cut_refused_delayed_or_lose_a_reply",
    # leaks
    "solid_queue#546": "tests/faults/test_two_schedulers.py::test_a_scheduler_and_a_node_are_killed_midway",
    "argo-workflows#16405": CANNOT,
    "ray#19131": "tests/faults/test_simulation.py::test_whatever_goes_wrong_the_invariants_hold",
    "ray#17044": "tests/faults/test_controls.py::test_the_model_catches",
    "airflow#15399": "tests/faults/test_model.py::test_on_a_real_server",
    "distributed#9108": "tests/faults/test_model.py::test_on_a_real_server",
    "distributed#4446": "tests/faults/test_simulation.py::test_whatever_goes_wrong_the_invariants_hold",
    "re-registering doubles the capacity": "tests/lua/test_nodes.py::test_a_new_incarnation_has_a_ledger_of_its_own",
    "a restart undoes a drain": "tests/lua/test_nodes.py::test_drain_takes_no_new_tasks_and_outlives_a_restart",
    # cancel, unique
    "asynq#532": "tests/lua/test_cancel.py::test_an_outcome_after_the_cancel_does_not_count",
    "arq#485": "tests/lua/test_cancel.py::test_unknown",
    "revoke lost while workers are offline": "tests/lua/test_cancel.py::test_waiting_without_requeue_ends",
    "cancel between last look and finish": "tests/lua/test_cancel.py::test_an_end_before_the_cancel_wins",
    "asynq#275": "tests/lua/test_life.py::test_forgotten_tasks_leave_nothing",
    "kueue#7157": "tests/lua/test_reservation.py::test_preemption_stops_as_few_as_needed_and_keeps_the_room",
    # counting
    "asynq#1015": "tests/lua/test_life.py::test_crashes_are_counted_apart_and_end_as_poison",
    "faktory#409": "tests/lua/test_life.py::test_a_failure_is_retried_after_a_back_off",
    "hyperqueue: planned stops": "tests/lua/test_nodes.py::test_drain_with_requeue_stops_what_runs_at_no_cost",
    # Redis
    "celery#10205": "tests/faults/test_lost_redis.py::test_lines_that_fall_silent",
    "celery#10302": "tests/faults/test_lost_redis.py::test_scripts_that_are_flushed_and_clients_that_are_killed",
    "bullmq#648": f"{SENTINEL}::test_a_run_goes_on_through_failovers_and_loses_nothing_that_was_acknowledged",
    "redis-py#3543": "tests/faults/test_sentinel.py::test_a_link_and_its_ears_follow_a_failover",
    "dramatiq#433": CANNOT,
    "bullmq#2215": CANNOT,
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_test_or_its_reason(case: str) -> None:
    where = CASES[case]
    if where == CANNOT:
        assert f"`{case}`" in PAGE.read_text(), f"{PAGE.name} doesn't say why {case} can't occur"
        return
    path, _, name = where.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.M), f"{where} is gone"


def test_the_page_lists_every_case() -> None:
    missing = [case for case in CASES if case not in PAGE.read_text()]
    assert not missing
