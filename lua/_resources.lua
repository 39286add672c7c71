--@include _check
--@include _required
-- Resources: what a node has beside CPU and memory. Its record says it as text, with spaces between:
--   resources       gpu=0,1,2,3 scratch=#200000000             indexes, or '#' and a sum in thousandths
--   free_resources  gpu=0:1000,1:500,2:0,3:0 scratch=#150000000   what of each index, or of the sum, is free
-- The entry of an attempt says what it holds: gpu=0*1000,1*500;scratch=#5000000.
-- A whole amount takes whole indexes, a share is of one index: of one index never more than a whole is given.

local WHOLE, MOST_INDEXES = 1000, 256
local MOST_RESOURCES = 32768 -- bytes
local INDEX = '^%w[%w._-]*$'
local asked_before = {} -- what is required → the amounts in it; false: none

-- The amounts that a class requires by this; false: none.
local function amounts_required(required)
  local amounts = asked_before[required]
  if amounts == nil then
    local _, text = string.match(required, REQUIRED)
    amounts = text and text ~= '' and amounts_parse(text) or false
    asked_before[required] = amounts
  end
  return amounts
end

-- What stands in `resources`: the names in order, and `of` each { total, free, indexes (nil: a sum), left: index → free }, of which
-- all is free. Nil: it says something else.
local function resources_parse(text)
  local resources, length = { names = {}, of = {} }, 0
  for name, value in string.gmatch(text, '([^= ]+)=(%S+)') do
    local sum = string.match(value, '^#([1-9]%d*)$')
    local one = { total = tonumber(sum) or 0, indexes = nil, left = {} }
    if not sum then
      one.indexes = {}
      for index in string.gmatch(value, '[^,]+') do
        if not string.find(index, INDEX) or #index > 64 or one.left[index] then return nil end
        one.indexes[#one.indexes + 1], one.left[index] = index, WHOLE
      end
      if #table.concat(one.indexes, ',') ~= #value or #one.indexes > MOST_INDEXES then return nil end
      one.total = WHOLE * #one.indexes
    end
    one.free = one.total
    local sound = string.find(name, '^%l[%l%d_-]*$') and #name <= PY.MOST_NAME_OF_AMOUNT and not resources.of[name]
    if not sound or one.total > PY.MOST_AMOUNT or #resources.names == PY.MOST_AMOUNTS then return nil end
    resources.of[name], resources.names[#resources.names + 1] = one, name
    length = length + #name + #value + 2
  end
  return (text == '' or length == #text + 1) and resources or nil
end

-- The text of `free_resources`.
local function resources_text(resources)
  local words = {}
  for i, name in ipairs(resources.names) do
    local one, left = resources.of[name], {}
    for j, index in ipairs(one.indexes or {}) do left[j] = index .. ':' .. whole(one.left[index]) end
    words[i] = name .. '=' .. (one.indexes and table.concat(left, ',') or '#' .. whole(one.free))
  end
  return table.concat(words, ' ')
end

-- As a worker registers them.
local function resources_given(text)
  if text == '' or (text and #text <= MOST_RESOURCES and resources_parse(text)) then return text end
  complain('invalid_resources', 'bad resources ' .. shown(text or '') .. ': write NAME=INDEX,INDEX or NAME=#THOUSANDTHS, with spaces between,'
    .. ' at most PY.MOST_AMOUNTS names, and of each at most ' .. MOST_INDEXES .. ' indexes')
  return ''
end

-- What `free_resources` says, of what stands in `resources`; nil: they don't belong together.
local function resources_read(text, free_text)
  local resources = resources_parse(text)
  if not resources then return nil end
  for name, value in string.gmatch(free_text, '([^= ]+)=(%S+)') do
    local one = resources.of[name]
    if not one then return nil end
    one.free = tonumber(string.match(value, '^#(%d+)$')) or 0
    for index, left in string.gmatch(value, '([^,:]+):(%d+)') do
      left = tonumber(left)
      if not one.left[index] or left > WHOLE then return nil end
      one.left[index], one.free = left, one.free + left
    end
  end
  return resources_text(resources) == free_text and resources or nil
end

-- The resources of a node that was loaded; nil: it has none, or they can't be read (nobody gets any there: the audit mends it).
local function resources_of(node)
  if node.resources == nil then
    local has = node.free_resources and field_of(P .. 'node:' .. node.id, 'resources')
    node.resources = has and resources_read(has, node.free_resources) or false
  end
  return node.resources or nil
end

-- The index that a share is taken from: of those with enough left the one with least, so that others stay whole.
local function share_index(one, amount)
  local best
  for _, index in ipairs(one.indexes) do
    local left = one.left[index]
    --@mark share_fits
    if left >= amount and (not best or left < one.left[best]) then best = index end
  end
  return best
end

-- So many indexes of which nothing is given away, in their order; nil: there aren't so many.
local function whole_indexes(one, number)
  local found = {}
  for _, index in ipairs(one.indexes) do
    --@mark index_whole
    if one.left[index] == WHOLE then
      found[#found + 1] = index
      if #found == number then return found end
    end
  end
end

-- Whether the amounts are there; `empty`: would be, if nothing were given away.
local function resources_enough(resources, amounts, empty)
  for _, amount in ipairs(amounts) do
    local one, number = resources and resources.of[amount.name], amount.number
    if not one or number > (empty and one.total or one.free) then return false end
    if one.indexes and not empty then
      local found
      if number < WHOLE then found = share_index(one, number) else found = whole_indexes(one, number / WHOLE) end
      if not found then return false end
    end
  end
  return true
end

-- Takes amounts, all of which are there: what is held then, as text.
local function resources_take(resources, amounts)
  local parts = {}
  for i, amount in ipairs(amounts) do
    local one, number = resources.of[amount.name], amount.number
    one.free = one.free - number
    if not one.indexes then
      parts[i] = amount.name .. '=#' .. whole(number)
    else
      local share = math.min(number, WHOLE)
      local indexes = number < WHOLE and { share_index(one, number) } or whole_indexes(one, number / WHOLE)
      for j, index in ipairs(indexes) do
        --@mark index_taken
        one.left[index] = one.left[index] - share
        indexes[j] = index .. '*' .. whole(share)
      end
      parts[i] = amount.name .. '=' .. table.concat(indexes, ',')
    end
  end
  return table.concat(parts, ';')
end

-- Calls `each(name, index, number)` for what is held; of a sum there is no index. (Limits stand there, too.)
local function held_each(held, each)
  for name, value in string.gmatch(held, '([^=;@]+)=([^;]+)') do
    local sum = string.match(value, '^#(%d+)$')
    if sum then each(name, nil, tonumber(sum)) end
    for index, share in string.gmatch(value, '([^,*]+)%*(%d+)') do each(name, index, tonumber(share)) end
  end
end

-- Gives back what was held; of each at most so much that all of it is free. False: something was free already, or isn't there.
local function resources_give(resources, held)
  local sound = true
  held_each(held, function(name, index, number)
    local one = resources.of[name]
    local free = one and (index and one.left[index] or not index and not one.indexes and one.free)
    local most = index and WHOLE or one and one.total
    if not free or free + number > most then sound = false end
    if not free then return end
    number = math.min(number, most - free)
    one.free = one.free + number
    if index then one.left[index] = free + number end
  end)
  return sound
end

-- What will be free of the node's resources, to be reckoned with; nil: the class requires none.
local function later_resources(node, class)
  if not class.need.amounts then return nil end
  local has = field_of(P .. 'node:' .. node.id, 'resources') or ''
  return resources_of(node) and resources_read(has, resources_text(node.resources)) or { names = {}, of = {} }
end

-- Whether a node has so much; `empty`: would have, if nothing ran there. `amounts` nil: none.
local function has_amounts(node, amounts, empty)
  return not amounts or resources_enough(resources_of(node), amounts, empty)
end

-- Takes amounts of a node: what is held then ('' of none); nil: there isn't enough.
local function amounts_take(node, amounts)
  if not amounts then return '' end
  local resources = resources_of(node)
  if not resources_enough(resources, amounts) then return nil end
  local held = resources_take(resources, amounts)
  node.free_resources = resources_text(resources)
  return held
end

-- Gives back what was held of a node. False: something of it was free already, or isn't there.
local function amounts_give(node, held)
  local resources = held ~= '' and resources_of(node)
  if not resources then return true end
  local sound = resources_give(resources, held)
  node.free_resources, node.carries = resources_text(resources), nil
  return sound
end
