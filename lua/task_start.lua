#!lua flags=allow-oom
--- task_start: a node reports that attempts run (assigned → running).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation *tokens
-- Replies: how many were recorded; tokens that are no longer on the ledger are passed over
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing
--@include _ledger
--@include _record
--@include _commit

agents_arguments_given(3, 1)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
if wrong() then return wrong() end
local node, stale = node_of(node_id, incarnation)
if stale then return stale end

local tokens, tasks, ids = {}, {}, {}
for i = 4, #ARGV do tokens[#tokens + 1] = ARGV[i] end
local entries = #tokens > 0 and call('HMGET', node.path .. ':tasks', unpack(tokens)) or {}
for i, entry in ipairs(entries) do
  local id, cpu, memory, mark = entry_parse(entry or '')
  if mark == 'a' then
    ids[#ids + 1] = id
    tasks[#tasks + 1] = { id = id, token = tokens[i], need = cpu .. ':' .. memory }
  end
end
records_fetch(ids, 'attempt')
local began = { started = stamp(now) }
for _, task in ipairs(tasks) do
  entry_started(node, task.token, task.id, task.need)
  attempt_change(task.id, began)
  event('started', task.id, node_id)
end
commit(now, node_id)
return #tasks
