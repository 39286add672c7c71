-- What every script begins with: the prefix, the time, refusals, small helpers.

local P = KEYS[1] or ''
local call = redis.call

-- What others may have written is read without trust. Lua has no rollback: a read that raises half-way through a script
-- would leave it half done. So a key that may be of another type is read by this (the reply has `err` then), and what
-- says nothing where a number should be is no number.
local read = redis.pcall

-- A whole number from 0, or nil.
local function whole_of(text)
  if not text or not string.find(text, '^%d+$') then return nil end -- tonumber() takes much more: 0x10, inf, nan
  local number = tonumber(text)
  if number < PY.EXACT then return number end
end

-- Whether it may be the id of a task, or of an element.
local function names_task(text)
  return #text <= 140 and string.find(text, '^%w[%w._/-]*$') ~= nil
end

-- The fields of a hash; none of them where the key is of another type.
local function fields_of(key, ...)
  local found = read('HMGET', key, ...)
  return found.err and {} or found
end

-- One of them.
local function field_of(key, name)
  local value = unpack(fields_of(key, name))
  return value
end

-- Sets fields of a hash; a key of another type is replaced by it.
local function hash_set(key, ...)
  if type(read('HSET', key, ...)) ~= 'table' then return end
  call('DEL', key)
  call('HSET', key, ...)
end

-- Redis' time in ms, unless the caller moves the clock (tests, simulate).
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local seconds, microseconds = unpack(call('TIME'))
  return tonumber(seconds) * 1000 + math.floor(tonumber(microseconds) / 1000)
end

-- A number in a text, or given to a command, is printed as a floating-point one: by Lua, and by Redis 7.0 (Valkey sees
-- that it is whole). This is a quarter cheaper, and text that is used again and again costs nothing.
local function whole(number)
  return string.format('%d', number)
end

local stamps = {} -- of times that were asked for in this call: one, as a rule

local function stamp(now)
  local text = stamps[now]
  if not text then
    text = whole(now)
    stamps[now] = text
  end
  return text
end

local OFTEN = { 'schema', 'aging', 'node_choice' } -- settings that most calls go by: they are read at once
local settings

-- A setting; nil where it has none, or isn't to be read.
local function setting(name)
  if not settings then
    settings = {}
    local found = fields_of(P .. 'settings', unpack(OFTEN))
    for i, one in ipairs(OFTEN) do settings[one] = found[i] end
  end
  if settings[name] ~= nil then return settings[name] or nil end
  return field_of(P .. 'settings', name) or nil
end

-- Says in the settings that there is something: from then on it is looked for. Whether that is new.
local function setting_say(name)
  if setting(name) then return false end
  settings[name] = '1'
  read('HSET', P .. 'settings', name, '1')
  return true
end

-- What was written by others, as it may stand in a message: nothing in it acts on a terminal, nor on who parses it.
local function legible(text)
  return (string.gsub(string.sub(text, 1, 60), '[^%w._/:+-]', '?'))
end

-- Named refusals: `RQS_TASK_NOT_FOUND text` becomes the exception with the code task_not_found.
local function refuse(code, text)
  return redis.error_reply('RQS_' .. string.upper(code) .. ' ' .. text)
end

-- Wakes a scheduler: one element wakes one of them; more would only wake more.
local function wake()
  local waiting = read('LLEN', P .. 'wake')
  if type(waiting) == 'table' then -- of another type: it begins anew
    call('DEL', P .. 'wake')
    waiting = 0
  end
  if waiting == 0 then call('RPUSH', P .. 'wake', '1') end
end
