--@include _base
-- The decision log: a script collects what it did and writes one stream entry.
-- Entry: field = type of event, value = items `ID[@NODE][#ATTEMPT][=REASON]` with spaces between.

local happened = {} -- the types in their order, and type → items

local function event(kind, id, node, attempt, reason)
  local items = happened[kind]
  if not items then
    items = {}
    happened[kind] = items
    happened[#happened + 1] = kind
  end
  local item = id
  if node and attempt and not reason then
    item = id .. '@' .. node .. '#' .. attempt -- in one step: each makes a string
  else
    if node then item = item .. '@' .. node end
    if attempt then item = item .. '#' .. attempt end
    if reason then item = item .. '=' .. reason end
  end
  items[#items + 1] = item
end

-- The items of a type that were collected, as one text.
local function events_text(kind)
  return table.concat(happened[kind] or {}, ' ')
end

local function events_flush()
  if #happened == 0 then return end
  local entry, n = {}, 0
  for i = 1, #happened do
    local kind = happened[i]
    entry[n + 1], entry[n + 2], n = kind, table.concat(happened[kind], ' '), n + 2
  end
  local log = P .. 'events'
  if type(read('XADD', log, 'MAXLEN', '~', '100000', '*', unpack(entry))) == 'table' then -- no stream: it begins anew
    call('DEL', log)
    call('XADD', log, '*', unpack(entry))
  end
  happened = {}
end

-- Totals and live counts, written once a script.
local counted = {}

local function count(name, by)
  counted[name] = (counted[name] or 0) + by
end

-- Where the count is none, it begins anew: what it counted is known to the audit.
local function count_write(name, by)
  local counts = P .. 'counts'
  local reply = read('HINCRBY', counts, name, whole(by))
  if type(reply) ~= 'table' then return end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then call('DEL', counts) end
  call('HSET', counts, name, whole(by))
end

local function counts_flush()
  if not next(counted) then return end
  for name, by in pairs(counted) do
    if by ~= 0 then count_write(name, by) end
  end
  counted = {}
end
