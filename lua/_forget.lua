--@include _events
--@include _needed
-- Dropping ended tasks: the record and everything beside it. An array goes with the last of its elements; where some were
-- cancelled before they were made, or where others still need it, it is in the index of ended arrays from then on.

local function drop(state, ids)
  lists_drop(ids)
  records_drop(ids)
  call('ZREM', P .. 'finished:' .. state, unpack(ids))
end

local function drop_array(id, unmade)
  local failed = field_of(P .. 'array:' .. id, 'cut_reason')
  drop('array', { id })
  call('UNLINK', P .. 'array:' .. id, P .. 'apart:' .. id)
  unmade_count(failed and 'failed' or 'cancelled', -unmade)
  count('forgotten', unmade)
end

-- So many elements of an array are forgotten.
local function array_less(id, number)
  local key = P .. 'array:' .. id
  local first, last = string.match((request_of(id) or {}).array or '', '^(%d+)-(%d+)$')
  if not first then return end
  local unmade = whole_of(field_of(key, 'unmade')) or 0
  local forgotten = read('HINCRBY', key, 'forgotten', whole(number))
  if type(forgotten) == 'table' or forgotten + unmade < last - first + 1 then return end
  if unmade == 0 and not (has_graphs() and needed_by(id)) then return drop_array(id, 0) end
  local outcome = outcome_of(id)
  call('ZADD', P .. 'finished:array', outcome and whole_of(outcome.at) or 0, id)
end

local function forget(state, ids)
  if #ids == 0 then return end
  if state == 'array' then
    for _, id in ipairs(ids) do drop_array(id, whole_of(field_of(P .. 'array:' .. id, 'unmade')) or 0) end
    return
  end
  drop(state, ids)
  count('forgotten', #ids)
  local arrays = {}
  for _, id in ipairs(ids) do
    local array_id = string.find(id, '/', 1, true) and string.match(id, '^(.+)/')
    if array_id then arrays[array_id] = (arrays[array_id] or 0) + 1 end
  end
  for id, number in pairs(arrays) do array_less(id, number) end
end
