--@include _events
-- What a script has collected is written at its end, by commit(), in one order. A line under `--@with _name` is there only
-- in scripts that include that file; this one is included after all of those.

-- Ends, the reservation and the queues: before the script looks into the queues again.
local function settle(now)
  --@with _ended
  ends_flush(now)
  --@with _reservation
  reservation_flush(now)
  --@with _queue
  if queue_flush() then wake() end
end

-- The last thing that a script does before it replies. `quiet`: the node whose agent made the call, which needs no doorbell.
local function commit(now, quiet)
  settle(now)
  --@with _limited
  limits_wake()
  --@with _record
  records_flush()
  --@with _ledger
  nodes_flush(quiet)
  counts_flush()
  events_flush()
end
