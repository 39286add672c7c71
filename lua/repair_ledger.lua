#!lua flags=allow-oom
--- repair_ledger: drop an allocation that has no attempt, or see to it that somebody gives back what a ledger holds.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation token
--   token '': all of the incarnation
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: an allocation with its attempt isn't touched; the worker gets an order to stop what it may run under a dropped one
--@include _repair

arguments_given(4)
local now, id = time_given(ARGV[1]), found_given(ARGV[2], 'node id')
local incarnation, token = found_given(ARGV[3], 'incarnation'), found_given(ARGV[4], 'token')
if wrong() then return wrong() end
local key = P .. 'node:' .. id
local path = key .. ':' .. incarnation
local registered, state_of_node = unpack(call('HMGET', key, 'incarnation', 'state'))
local alive = registered == incarnation and state_of_node ~= 'dead'

local function answered()
  if alive then return true end
  for _, how in ipairs({ 'crashed', 'left' }) do
    if call('SISMEMBER', P .. 'lost', id .. ':' .. incarnation .. ':' .. how) == 1 then return true end
  end
  return false
end

local function whole_ledger()
  if answered() then return end
  if not find(incarnation, ID) then
    call('DEL', path .. ':tasks', path .. ':orders', path .. ':grown')
    did('no registration has such a name: dropped')
  elseif call('EXISTS', path .. ':tasks') == 1 then
    call('SADD', P .. 'lost', id .. ':' .. incarnation .. ':left')
    did('what it holds is given back by the schedulers')
    wake()
  elseif call('DEL', path .. ':orders', path .. ':grown') > 0 then
    did('dropped')
  end
end

local function allocation()
  local entry = call('HGET', path .. ':tasks', token)
  if not entry then return end
  local task_id = entry_parse(entry)
  local attempt = task_id and request_text(task_id) and attempt_of(task_id)
  if attempt and attempt.token == token then
    if attempt.place == id .. ':' .. incarnation then return end
    if call('HEXISTS', P .. 'node:' .. attempt.place .. ':tasks', token) == 0 then
      attempt_change(task_id, { place = id .. ':' .. incarnation })
      return did('its task is said to be here')
    end
  end
  call('HDEL', path .. ':tasks', token)
  did('allocation without an attempt dropped')
  if alive then
    node_recompute(now, id)
    stop_order(id, token, task_id or 'unknown')
  end
end

if token == '' then whole_ledger() else allocation() end
return repaired(now)
