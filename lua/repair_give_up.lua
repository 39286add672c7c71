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
local key = P .. 'task:' .. id

local function off_its_ledger(token, place)
  local node_id, incarnation = string.match(place or '', '^([^:]+):([^:]+)$')
  local path = node_id and P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks'
  if not token or not path or read('HDEL', path, token) ~= 1 then return end
  if field_of(P .. 'node:' .. node_id, 'incarnation') ~= incarnation then return end
  node_recompute(now, node_id)
  stop_order(node_id, token, names_task(id) and id or 'unknown')
end

local function give_up()
  local class, sequence, token, place = unpack(fields_of(key, 'c', 'n', 'k', 'i'))
  for _, index in ipairs({ 'delayed', 'held', 'finished:completed', 'finished:failed', 'finished:cancelled' }) do
    read('ZREM', P .. index, id)
  end
  if class and sequence then read('ZREM', P .. 'pending:' .. class, sequence .. id, sequence .. id .. '/') end
  off_its_ledger(token, place)
  for _, name in ipairs({ 'p', 't', 'X', 'Y', 'r', 'C', 'l', 'd', 'u', 'y', 'z', 'F', 'T', 'S', 'ax', 'rx' }) do
    local value = call('HGET', key, name)
    if value and not whole_of(value) and not (name == 'p' and tonumber(value)) then call('HDEL', key, name) end
  end
  if not class_of(class or '') then call('HSET', key, 'c', '1:1') end
  if not is_sequence(sequence) then call('HSET', key, 'n', sequence_text(0)) end
  call('HSETNX', key, 't', stamp(now))
  call('HDEL', key, 'y', 'z', 'ax', 'rx', 'R')
  call('UNLINK', P .. 'payload:' .. id, P .. 'result:' .. id)
  task_unreadable(now, id)
  did('failed: its record can\'t be mended')
end

if key_type(key) == 'hash' then give_up() end
return repaired(now)
