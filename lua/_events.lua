--@include _base
-- The decision log: a script collects what it did and writes one stream entry.
-- Entry: field = type of event, value = items `ID[@NODE][#ATTEMPT][=REASON]` with spaces between.

local happened, happened_types = {}, {}

local function event(kind, id, node, attempt, reason)
  local items = happened[kind]
  if not items then
    items = {}
    happened[kind] = items
    happened_types[#happened_types + 1] = kind
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

local function events_flush()
  if #happened_types == 0 then return end
  local entry = {}
  for _, kind in ipairs(happened_types) do
    entry[#entry + 1] = kind
    entry[#entry + 1] = table.concat(happened[kind], ' ')
  end
  call('XADD', P .. 'events', 'MAXLEN', '~', '100000', '*', unpack(entry))
  happened, happened_types = {}, {}
end

-- Totals and live counts, written once a script.
local counted = {}

local function count(name, by)
  counted[name] = (counted[name] or 0) + by
end

local function counts_flush()
  for name, by in pairs(counted) do
    if by ~= 0 then call('HINCRBY', P .. 'counts', name, whole(by)) end
  end
  counted = {}
end
