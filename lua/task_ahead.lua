#!lua flags=no-writes
--- task_ahead: how many pending tasks of some classes come before a place in the order.
-- KEYS: prefix
-- ARGV: now_ms score sequence *batches
--   score, sequence: the place; each batch: a group, the rank among its classes' heads to begin at, how many classes
-- Replies: how many tasks
-- Refuses: nothing
-- Promises: reads only; works on the classes given, by lookups whose number grows with the logarithm of their length
--@include _queue
--@include _check

local GROUP = '^%d+:%d+[-+*@=a-z0-9._]*[!:%w._-]*$'

local function place_given(given_score, given_sequence)
  local number = string.find(given_score or '', '^[%d.e+-]+$') and tonumber(given_score)
  if not number or number ~= number or math.abs(number) > MOST_COUNT then
    complain('invalid_value', 'score must be a number, not ' .. shown(given_score or ''))
  end
  if #(given_sequence or '') > PY.SEQUENCE or string.find(given_sequence or '', '%X') then
    complain('invalid_value', 'bad sequence ' .. shown(given_sequence))
  end
end

arguments_given(3, 3)
local score, sequence = ARGV[2], ARGV[3]
place_given(score, sequence)
for i = 4, #ARGV, 3 do
  if not string.find(ARGV[i], GROUP) then complain('invalid_value', 'bad group ' .. shown(ARGV[i])) end
  number_given(ARGV[i + 1], 'rank', 0, MOST_COUNT)
  batch_given(ARGV[i + 2], 'classes')
end
if wrong() then return wrong() end

-- Among equal scores the sequence decides: their members stand in its order, so a binary search by rank finds the place.
local function equals_before(key, from, to)
  local low, high = from, to
  while low < high do
    local middle = low == from and high == to and high - 1 or math.floor((low + high) / 2) -- most often all are earlier
    local member = unpack(call('ZRANGE', key, middle, middle))
    if string.sub(member, 1, PY.SEQUENCE) < sequence then
      low = middle + 1
    else
      high = middle
    end
  end
  return low - from
end

local ahead = 0
for i = 4, #ARGV, 3 do
  local first = tonumber(ARGV[i + 1])
  local heads = call('ZRANGE', P .. 'classes:' .. ARGV[i], first, first + ARGV[i + 2] - 1, 'WITHSCORES')
  for j = 1, #heads, 2 do
    if not earlier(tonumber(heads[j + 1]), string.sub(heads[j], 1, PY.SEQUENCE), tonumber(score), sequence) then break end
    local key = P .. 'pending:' .. string.sub(heads[j], PY.SEQUENCE + 1)
    local lower = call('ZCOUNT', key, '-inf', '(' .. score)
    ahead = ahead + lower + equals_before(key, lower, call('ZCOUNT', key, '-inf', score))
  end
end
return ahead
