--@include _base
-- Which version of the format the data have (settings: schema). A script works on its own only: a process that outlives
-- an upgrade can write no more. Where there are no data, what is written first says it.

local VERSION = 'PY.SCHEMA'
local unsaid = false -- no entry says it

-- As versions stand there; FROM>TO while data are converted. Anything else says nothing.
local function is_version(text)
  return text and (string.find(text, '^[1-9]%d?$') or string.find(text, '^[1-9]%d?>[1-9]%d?$'))
end

local function is_text(id)
  local kind = call('TYPE', P .. 'task:' .. id)
  return (type(kind) == 'table' and kind.ok or kind) == 'string'
end

-- The first entries of an index, as anybody may have put something before them; none: there are none, or it is another type.
local function first_in(index)
  return ipairs(read('ZRANGE', P .. index, 0, 9))
end

-- Whether a task has its record as this version writes it.
local function has_text()
  for _, index in ipairs({ 'finished:completed', 'finished:failed', 'finished:cancelled', 'delayed', 'held' }) do
    for _, id in first_in(index) do
      if is_text(id) then return true end
    end
  end
  for _, head in first_in('groups') do
    for _, waits in first_in('pending:' .. string.sub(head, PY.SEQUENCE + 1)) do
      if is_text((string.gsub(string.sub(waits, PY.SEQUENCE + 1), '/$', ''))) then return true end
    end
  end
  return false
end

-- Whether a process of this version has been let in.
local function has_process()
  for _, index in ipairs({ 'nodes', 'gone' }) do
    for _, id in first_in(index) do
      if string.find(field_of(P .. 'node:' .. id, 'knows') or '', '^' .. VERSION .. '%f[^%d]') then return true end
    end
  end
  for _, scheduler in first_in('schedulers') do
    if string.find(scheduler, ' ' .. VERSION .. '%f[^%d]') then return true end
  end
  return false
end

-- Of data without an entry (version 1 began without; or it was lost): version 1 had no texts. Nil: there never was a task.
local function version_of_data()
  local last = read('GET', P .. 'seq')
  if type(last) ~= 'string' or not string.find(last, '^%d+$') then return nil end
  return (call('EXISTS', P .. 'placed') == 1 or has_text() or has_process()) and VERSION or '1'
end

-- The version of the data; nil: there are none.
local function schema_found()
  local found = setting('schema')
  if is_version(found) then return found end
  unsaid = true
  return version_of_data()
end

-- What is said of data of another version; nil: they are of this one.
local function schema_wrong()
  if setting('schema') == VERSION then return nil end
  local found = schema_found()
  if not found or found == VERSION then return nil end
  local name = legible(string.match(P, '{(.*)}') or '')
  local command = '`rq-sched upgrade' .. (name ~= 'default' and ' --namespace ' .. name or '') .. '`'
  local advice = 'stop all its processes, then run ' .. command
  if not tonumber(found) then
    advice = 'they are being converted: wait until ' .. command .. ' has ended; if it was stopped, run it again'
  elseif tonumber(found) > tonumber(VERSION) then
    advice = 'install a newer rq-sched here'
  end
  return 'namespace ' .. name .. ' has data of version ' .. found
    .. ', and this process works with version ' .. VERSION .. ': ' .. advice
end

-- Says the version, where no entry does yet: part of what is written first.
local function schema_say()
  if unsaid then read('HSET', P .. 'settings', 'schema', VERSION) end
  unsaid = false
end

-- From where data are to be converted; nil: they can't be, or needn't.
local function schema_to_convert()
  local from, to = string.match(schema_found() or VERSION, '^(%d+)>?(%d*)$')
  if (to ~= '' and to ~= VERSION) or tonumber(from) >= tonumber(VERSION) then return nil end
  return from, to ~= ''
end

-- From now on no process may read or write the data.
local function schema_converting(from)
  hash_set(P .. 'settings', 'schema', from .. '>' .. VERSION)
end
