#!lua flags=allow-oom
--- repair_give_up: fail a task whose record can't be mended (pending | delayed | held | assigned | running → failed).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: it is in the index of failed tasks alone from now on, and its worker gets an order to stop what it runs of it
--@include _ended
--@include _repair

arguments_given(2)
local now, id = time_given(ARGV[1]), found_given(ARGV[2], 'task id')
if wrong() then return wrong() end

local function off_its_ledger(attempt)
  local node_id, incarnation = string.match(attempt.place, '^([^:]+):([^:]+)$')
  local path = node_id and P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks'
  if not path or read('HDEL', path, attempt.token) ~= 1 then return end
  if field_of(P .. 'node:' .. node_id, 'incarnation') ~= incarnation then return end
  node_recompute(now, node_id)
  stop_order(node_id, attempt.token, names_task(id) and id or 'unknown')
end

local function give_up(request)
  local attempt = attempt_of(id)
  for _, index in ipairs({ 'delayed', 'held', 'waiting', 'finished:completed', 'finished:failed', 'finished:cancelled' }) do
    read('ZREM', P .. index, id)
  end
  if request.class and request.turn then
    read('ZREM', P .. 'pending:' .. request.class, request.turn .. id, request.turn .. id .. '/')
  end
  if attempt then off_its_ledger(attempt) end
  call('UNLINK', P .. 'payload:' .. id, P .. 'result:' .. id)
  task_unreadable(now, id)
  -- What can be read stays.
  local left = {
    class = class_of(request.class or '') and request.class or '1:1', turn = is_sequence(request.turn) and request.turn or sequence_text(0),
    digest = request.digest, at = whole_of(request.at) and request.at or stamp(now), watch = request.watch,
    priority = tonumber(request.priority) and request.priority or nil, run = request.run, awaits = request.awaits,
    before = request.before,
  }
  request_put(id, left)
  did('failed: its record can\'t be mended')
end

local known = request_of(id)
if known then give_up(known) end
return repaired(now)
