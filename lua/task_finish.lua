#!lua flags=allow-oom
--- task_finish: a node reports the ends of attempts and is refilled in the same call
-- (assigned → running; assigned | running → completed | failed | cancelled | delayed | pending; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked nonce limit random starts *reports
--   starts: those of attempts that run, as of task_start, with spaces between
--   each report: head, value, output; head: TOKEN ID OUTCOME RAN[ reason=WORD][ exit_code=NUMBER] with RAN in ms, `-` never
--   started; value: the result of what is completed, the error of what isn't
-- Replies: {outcomes, orders}: `recorded` or `stale` a report; all orders after `acked`, in full, a text each: as they were
--   given, or NUMBER void; of a start NUMBER start TOKEN ID ATTEMPT, a newline, and the request as it stands
--   (at most `limit`, and beyond that only resize orders of those whose surplus new starts get)
-- Refuses: stale_incarnation
-- Promises: one recorded outcome an attempt: a report counts only while its token is on the ledger; sent again it
--   answers `recorded` and changes nothing; the node gets the earliest tasks that fit before others can be placed there
--@include _fill
--@include _orders
--@include _report
--@include _started
--@include _commit

agents_arguments_given(8, 3)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local acked, nonce = number_given(ARGV[4], 'acked', 0, MOST_COUNT), id_given(ARGV[5], 'nonce')
local limit, random = number_given(ARGV[6], 'limit', 0, MOST_BATCH), fraction_given(ARGV[7], 'random')
local starts = bytes_given(ARGV[8], 'the text of the starts', 4096)
if wrong() then return wrong() end
local reports = {}
for at = 9, #ARGV, 3 do reports[#reports + 1] = report_given(ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
if wrong() then return wrong() end

local node, stale = node_of(node_id, incarnation)
if stale then return stale end
acknowledge(node, acked)

local answers, orders = {}, {}
if #reports > 0 then
  local tokens, ids, seen = {}, {}, {}
  for i, report in ipairs(reports) do tokens[i], ids[i] = report.token, report.id end
  local entries = read('HMGET', node.ledger, unpack(tokens))
  records_fetch(ids, 'attempt')
  for i, report in ipairs(reports) do
    answers[i] = report_recorded(now, node, report, not seen[report.token] and entries[i] or nil, random)
    seen[report.token] = true
  end
  settle(now)
end
if starts ~= '' then attempts_started(now, node, starts) end

if node.ordered > node.acked then orders_read(node, limit, orders) end
if #orders < limit then
  local _, undone = fill_safely(now, nonce, node, limit - #orders, orders)
  if undone then wake() end
else -- too much for one reply: the room is offered later
  read('ZADD', P .. 'dirty', now, node_id)
  wake()
end
commit(now, node_id)
return { answers, orders }
