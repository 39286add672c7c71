--@include _events
--@include _schema
--@include _record
-- Arrays. One request and one entry of a queue stand for all elements of an array that haven't been made yet: its rest.
-- An element becomes a task of its own, ARRAY/INDEX, when it is placed, or before its turn where somebody names it.
--
-- What changes of an array stands in the hash `array:ID`; elements get what they need from its request. The entry's member is
-- the sequence of the next element, the array's id and '/'. All elements have their sequences from the beginning, so each
-- has its place in the order. Beside them: `live:ID` (indexes of elements that were made and haven't ended),
-- `apart:ID` (those that were made before their turn: runs, the first as score, the last as member) and the set
-- `arrays` (arrays that have a rest).

local SEQUENCE_FORM = '%0' .. PY.SEQUENCE .. 'x' -- there are 2^52 sequences, as many as a number holds exactly
local REST = 47 -- '/'
local OF_THE_ARRAY = { -- no element gets these
  state = true, due = true, operation = true, array = true, reason = true, awaits = true, left = true, before = true,
  on_failure = true, each = true,
}
local arrays_seen = {} -- id → array; false: there is none

local function sequence_text(number)
  return string.format(SEQUENCE_FORM, number)
end

-- Takes so many sequences, which are behind all that were taken: the first of them; nil, and none is taken, where not so
-- many are left.
local function sequences_new(number)
  schema_say()
  local last = call('INCRBY', P .. 'seq', whole(number))
  if last < PY.SEQUENCES then return last - number + 1 end
  call('DECRBY', P .. 'seq', whole(number))
  return nil
end

local function sequences_used_up()
  return refuse('counter_full', 'the places in the order of this namespace are used up: go on in another --namespace')
end

-- What was read is read anew.
local function arrays_forget()
  arrays_seen = {}
end

-- A new array: nothing of it is made yet. `sequence`: of its first element, as a number.
local function array_begin(id, request, sequence, first, last)
  request.turn, request.array = sequence_text(sequence), whole(first) .. '-' .. whole(last)
  request_put(id, request)
  call('DEL', P .. 'array:' .. id)
  call('HSET', P .. 'array:' .. id, 'next', whole(first))
  read('SADD', P .. 'arrays', id)
end

local function array_load(id)
  local array = arrays_seen[id]
  if array ~= nil then return array or nil end
  local key = P .. 'array:' .. id
  local request = names_task(id) and request_of(id) or {}
  local next_index, apart_read, watch = unpack(request.array and fields_of(key, 'next', 'apart', 'watch') or {})
  local first, last = string.match(request.array or '', '^(%d+)-(%d+)$')
  first, last = whole_of(first), whole_of(last)
  local number, base = whole_of(next_index), tonumber(string.match(request.turn or '', '^%x+$') or '', 16)
  local apart = whole_of(apart_read or 0)
  local sound = request.class and first and last and number and base and apart and first <= last and last <= PY.MOST_INDEX
    and number >= first and number <= last + 1 and base < PY.SEQUENCES
  array = sound and {
    id = id, key = key, first = first, last = last, base = base, next = number, apart = apart, head = nil, made = {},
    taken = false, score = nil, request = request, watch = watch or nil, apart_read = apart, class_name = request.class,
    element = nil,
  } or false
  arrays_seen[id] = array
  return array or nil
end

local function array_sequence(array, index)
  return sequence_text(array.base + index - array.first)
end

-- How many elements haven't been made.
local function array_rest(array)
  return math.max(0, array.last - array.next + 1 - array.apart)
end

-- The rest as it stands in its queue.
local function array_member(array)
  return array_sequence(array, array.next) .. array.id .. '/'
end

-- Its next element as it would stand there.
local function array_head(array)
  if not array.head then array.head = array_member(array) .. whole(array.next) end
  return array.head
end

-- The array whose rest an entry of a queue is, or nil.
local function array_of(member)
  local array = array_load(string.sub(member, PY.SEQUENCE + 1, -2))
  return array and array.next <= array.last and array or nil
end

-- To the next element that wasn't made before its turn.
local function array_advance(array)
  --@mark next_element
  array.next, array.head = array.next + 1, nil
  --@mark made_before
  if array.apart == 0 then return end
  local run = P .. 'apart:' .. array.id
  local found = read('ZRANGEBYSCORE', run, whole(array.next), whole(array.next))
  local member = unpack(found)
  if found.err or not member then return end
  local last = whole_of(member)
  call('ZREM', run, member)
  if not last or last < array.next or last > array.last then return end
  array.apart = array.apart - (last - array.next + 1)
  array.next = last + 1
end

-- The request of an element with this sequence: all else is the same for each.
local function element_text(array, sequence)
  if not array.element then
    local shared = {}
    for name, value in pairs(array.request) do shared[name] = not OF_THE_ARRAY[name] and value or nil end
    shared.digest, shared.watch = '', array.watch
    array.element = request_maker(shared)
  end
  return array.element(sequence)
end

-- The next element is a task from now on: its request must be written, and array_write() must follow.
local function array_take(array)
  array.made[#array.made + 1] = whole(array.next)
  array_advance(array)
end

-- So many elements more have ended in that state without being made; fewer, where one is made now, or they are forgotten.
local function unmade_count(state, number)
  count('unmade', number)
  if state == 'failed' then count('unmade_failed', number) end
end

-- What array_take() did; true where a rest is left.
local function array_write(array)
  if #array.made > 0 then read('SADD', P .. 'live:' .. array.id, unpack(array.made)) end
  array.made = {}
  hash_set(array.key, 'next', whole(array.next))
  if array.apart ~= array.apart_read then call('HSET', array.key, 'apart', whole(array.apart)) end
  if array.next <= array.last then return true end
  read('SREM', P .. 'arrays', array.id)
  if array.request.expires then read('ZREM', P .. 'expiring', array.id) end
  return false
end
