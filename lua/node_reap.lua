#!lua flags=allow-oom
--- node_reap: give a dead incarnation's tasks back, a batch at a time (assigned | running → pending | failed | cancelled).
-- KEYS: prefix
-- ARGV: now_ms lost limit
--   lost: NODE:INCARNATION:HOW as in `lost`
-- Replies: {reaped, left}: how many attempts ended, how many are still on the ledger
-- Refuses: nothing
-- Promises: only an incarnation that stands in `lost` is touched; each attempt is given back once; tasks get their old
--   places in the order; only started tasks of a crash are charged, and only one that was alone may fail by it
--@include _end_attempt
--@include _surplus
--@include _commit

arguments_given(3)
local now, lost, limit = time_given(ARGV[1]), found_given(ARGV[2], 'lost'), batch_given(ARGV[3])
if wrong() then return wrong() end
local id, incarnation, how = string.match(lost, '^([^:]+):([^:]+):(%a+)$')
--@mark lost
if not id or call('SISMEMBER', P .. 'lost', lost) == 0 then return { 0, 0 } end

local path = P .. 'node:' .. id .. ':' .. incarnation
local node = node_load(id)
if node and node.incarnation ~= incarnation then node = nil end -- it came back: that ledger is another
local entries = call('HRANDFIELD', path .. ':tasks', limit, 'WITHVALUES') or {}
local tokens, ids, report = {}, {}, { value = '', exit_code = '', among = how == 'crashed' }
local died = how ~= 'left'
local holds = {} -- of each entry: task id, CPU, memory, mark, what else it holds
for i = 2, #entries, 2 do
  holds[i] = { entry_parse(entries[i]) }
  ids[#ids + 1] = unpack(holds[i])
end
records_fetch(ids)
for i = 1, #entries, 2 do
  local token = entries[i]
  local task_id, cpu, memory, mark, held = unpack(holds[i + 1], 1, 5)
  local task = task_id and task_of_attempt(now, task_id, id .. ':' .. incarnation, token, mark) or {}
  local attempt, request = task.attempt, task.request or {}
  tokens[#tokens + 1] = token
  --@mark limit_of_the_dead
  if task_id and held ~= '' then limits_give(held) end
  if node and task_id then give_back(node, token, cpu, memory, attempt and attempt.started, held) end
  if request.preemptible then read('ZREM', P .. 'preemptible', token .. ' ' .. id) end
  if attempt and attempt.token == token then
    --@mark charged
    local outcome = died and mark ~= 'a' and 'crashed' or 'returned'
    end_safely(now, task, id, mark, outcome, report)
  end
end
if #tokens > 0 then call('HDEL', path .. ':tasks', unpack(tokens)) end
local left = call('HLEN', path .. ':tasks')
if left == 0 then
  call('DEL', path .. ':orders', path .. ':grown')
  call('SREM', P .. 'lost', lost)
end
commit(now)
return { #tokens, left }
