"""The queue between the event loop and the writer."""

from roost.store.backlog import Backlog
from tests.helpers import activity_row


def ids(rows):
    return [row.request_id for row in rows]


def test_rows_leave_in_the_order_they_came():
    backlog = Backlog(10)
    for number in range(4):
        backlog.add(activity_row(number))
    assert ids(backlog.take(3)) == ["r0", "r1", "r2"]
    assert ids(backlog.take(3)) == ["r3"]
    assert backlog.take(3) == []


def test_a_full_backlog_drops_the_oldest_and_counts_it():
    backlog = Backlog(2)
    for number in range(5):
        backlog.add(activity_row(number))
    assert backlog.dropped == 3
    assert ids(backlog.take(9)) == ["r3", "r4"]


def test_rows_that_could_not_be_written_go_back_before_the_newer_ones():
    backlog = Backlog(10)
    for number in range(3):
        backlog.add(activity_row(number))
    batch = backlog.take(2)
    backlog.add(activity_row(3))
    backlog.put_back(batch)
    assert ids(backlog.take(9)) == ["r0", "r1", "r2", "r3"]


def test_putting_back_keeps_the_bound():
    backlog = Backlog(3)
    for number in range(3):
        backlog.add(activity_row(number))
    batch = backlog.take(3)
    backlog.add(activity_row(3))
    backlog.put_back(batch)
    assert backlog.dropped == 1
    assert ids(backlog.take(9)) == ["r1", "r2", "r3"]
