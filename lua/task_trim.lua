#!lua flags=allow-oom
--- task_trim: drop ended tasks that are old, or more than are kept; the oldest first.
-- KEYS: prefix
-- ARGV: now_ms older_than_ms keep limit *states
--   older_than_ms: since their end; keep: how many ended tasks may stay
-- Replies: how many were dropped; call again while it is more than 0
-- Refuses: nothing
-- Promises: at most `limit` tasks
--@include _forget
--@include _check
--@include _commit

local ENDED = { completed = true, failed = true, cancelled = true, array = true }

arguments_given(4, 1)
local now, older_than = time_given(ARGV[1]), number_given(ARGV[2], 'older_than_ms', 0, MOST_TIME)
local keep, limit = number_given(ARGV[3], 'keep', 0, MOST_COUNT), batch_given(ARGV[4])
for i = 5, #ARGV do choice_given(ARGV[i], 'state', ENDED) end
if wrong() then return wrong() end

-- The oldest that ended until then and that nobody needs, at most so many. Where the oldest are all needed some others are
-- looked at, now these, now those.
local function oldest(state, till, most)
  local index = P .. 'finished:' .. state
  local ids = unneeded(call('ZRANGEBYSCORE', index, '-inf', till, 'LIMIT', 0, most))
  if #ids > 0 or not has_graphs() then return ids end
  local number = call('ZCOUNT', index, '-inf', till)
  return number > most and unneeded(call('ZRANGEBYSCORE', index, '-inf', till, 'LIMIT', now % number, most)) or ids
end

local dropped, total, sizes = 0, 0, {}
for i = 5, #ARGV do
  sizes[ARGV[i]] = call('ZCARD', P .. 'finished:' .. ARGV[i])
  total = total + sizes[ARGV[i]]
end
for i = 5, #ARGV do
  local state = ARGV[i]
  local old = oldest(state, now - older_than, limit - dropped)
  forget(state, old)
  dropped = dropped + #old
  sizes[state] = sizes[state] - #old
end
-- Beyond the number to keep, the fullest state gives first.
local excess = math.min(total - dropped - keep, limit - dropped)
while excess > 0 do
  local fullest
  for state, size in pairs(sizes) do
    if not fullest or size > sizes[fullest] then fullest = state end
  end
  local ids = oldest(fullest, '+inf', excess)
  if #ids == 0 then break end
  forget(fullest, ids)
  sizes[fullest] = sizes[fullest] - #ids
  dropped, excess = dropped + #ids, excess - #ids
end
commit(now)
return dropped
