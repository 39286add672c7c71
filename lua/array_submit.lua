#!lua
--- array_submit: accept an array: its elements become tasks when they are placed (none → pending | delayed;
-- pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch first last id class digest text
--   first, last: the indexes of its elements; the others as of task_submit
-- Replies: a list with one number: 1 new, 0 the same request is here already, -1 the id is another request's, -2 it would be
--   one label set too many in the queues: nothing of it was written
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; costs the same whatever the number of elements
--@include _place
--@include _request

arguments_given(10)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local watch = ARGV[4] ~= '' and id_given(ARGV[4], 'channel') or ''
local first, last = number_given(ARGV[5], 'first', 0, PY.MOST_INDEX), number_given(ARGV[6], 'last', 0, PY.MOST_INDEX)
local id, class, digest, text = id_given(ARGV[7], 'task id'), ARGV[8], ARGV[9], ARGV[10]
if last < first or last - first >= PY.MOST_ELEMENTS then
  complain('invalid_value', 'an array has 1 to ' .. PY.MOST_ELEMENTS .. ' elements, not those from ' .. first .. ' to ' .. last)
end
if wrong() then return wrong() end
local request = request_given(id, class, digest, text)
if wrong() then return wrong() end

local function accept()
  local known = request_text(id)
  --@mark same_request
  if known then return has_digest(known, digest) and 0 or -1 end
  local waits = not request.delay or request.delay == '0'
  if waits and not may_wait(class) then return -2 end
  local number = last - first + 1
  local sequence = sequences_new(number)
  if not sequence then return nil end
  request_begin(id, request, class, digest, now, watch)
  array_begin(id, request, sequence, first, last)
  if waits then queue_add(class, score_of(tonumber(request.priority) or 0, now), array_member(array_load(id)), number) end
  count('submitted', number)
  event('submitted', id, nil, nil, request.array)
  return 1
end

local answer = accept()
if not answer then return sequences_used_up() end
place_new(now, nonce, limit)
return { answer }
