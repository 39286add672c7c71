--@include _base
-- Which version of the format the data have (settings: schema). A script works on its own only: a process that outlives
-- an upgrade can write no more. Data without an entry are version 1; where there are none, what is written first says it.

local VERSION = 'PY.SCHEMA'
local unsaid = false -- no entry says it yet

-- As versions stand there; FROM>TO while data are converted. Anything else says nothing.
local function is_version(text)
  return text and (string.find(text, '^[1-9]%d?$') or string.find(text, '^[1-9]%d?>[1-9]%d?$'))
end

-- What is said of data of another version; nil: they are of this one.
local function schema_wrong()
  local found = setting('schema')
  if found == VERSION then return nil end
  if not is_version(found) then
    unsaid = true
    if VERSION == '1' or call('EXISTS', P .. 'seq', P .. 'counts', P .. 'swept') == 0 then return nil end
    found = '1'
  end
  local advice = 'stop all its processes, then run `rq-sched upgrade`'
  if not tonumber(found) then
    advice = 'they are being converted: wait until `rq-sched upgrade` has ended; if it was stopped, run it again'
  elseif tonumber(found) > tonumber(VERSION) then
    advice = 'install a newer rq-sched here'
  end
  return 'namespace ' .. legible(string.match(P, '{(.*)}') or '') .. ' has data of version ' .. found
    .. ', and this process works with version ' .. VERSION .. ': ' .. advice
end

-- Says the version, where no entry does yet: part of what is written first.
local function schema_say()
  if unsaid then read('HSET', P .. 'settings', 'schema', VERSION) end
  unsaid = false
end
