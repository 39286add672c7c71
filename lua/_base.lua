-- What every script begins with: the prefix, the time, refusals, small helpers.

local P = KEYS[1] or ''
local call = redis.call

-- Redis' time in ms, unless the caller moves the clock (tests, simulate).
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- A number in a text, or given to a command, is printed as a floating-point one: by Lua, and by Redis 7.0 (Valkey sees
-- that it is whole). This is a quarter cheaper, and text that is used again and again costs nothing.
local function whole(number)
  return string.format('%d', number)
end

local stamp_time, stamp_text

local function stamp(now)
  if now ~= stamp_time then stamp_time, stamp_text = now, whole(now) end
  return stamp_text
end

-- Named refusals: `RQS_TASK_NOT_FOUND text` becomes the exception with the code task_not_found.
local function refuse(code, text)
  return redis.error_reply('RQS_' .. string.upper(code) .. ' ' .. text)
end

-- Rings for the schedulers: one element wakes one of them; more would only wake more.
local function wake()
  if call('LLEN', P .. 'wake') == 0 then call('RPUSH', P .. 'wake', '1') end
end
