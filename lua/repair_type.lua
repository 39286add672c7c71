#!lua flags=allow-oom
--- repair_type: drop a key of another type than belongs there; one that would expire, and must not, stays.
-- KEYS: prefix
-- ARGV: now_ms name
--   name: of the key, without the prefix
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: a key of the right type keeps what it holds; one whose name doesn't belong here isn't touched
--@include _repair

local KINDS = {
  hash = { 'placed', 'array', 'counts', 'settings', 'reservation', 'schedule', 'limits', 'limits_used',
    'limits_kept', 'node', 'node:tasks', 'node:grown' },
  string = { 'task', 'ended', 'payload', 'result', 'log', 'seq', 'swept', 'node:alive' },
  zset = { 'pending', 'classes', 'groups', 'fresh', 'dirty', 'delayed', 'held', 'waiting', 'finished', 'nodes', 'schedulers', 'gone', 'free',
    'totals', 'ends', 'preemptible', 'apart', 'releasing', 'schedules', 'expiring', 'limited' },
  set = { 'lost', 'suspects', 'live', 'arrays' },
  list = { 'wake', 'node:orders', 'awaits', 'before' },
  stream = { 'events' },
}

arguments_given(2)
local name = found_given(ARGV[2], 'key')
if wrong() then return wrong() end
local key, kind = P .. name, string.match(name, '^[^:]*')
if kind == 'node' then
  local part = string.match(name, '^node:[^:]*:[^:]*:([^:]*)$') or string.match(name, '^node:[^:]*:(alive)$')
  if part then kind = 'node:' .. part end
end

local function right_type()
  for kind_type, names in pairs(KINDS) do
    for _, one in ipairs(names) do
      if one == kind then return kind_type end
    end
  end
end

local right, found = right_type(), key_type(key)
if not right or found == 'none' then return repaired() end
if found ~= right then
  call('UNLINK', key)
  did('it was a ' .. found .. ', not a ' .. right .. ': dropped')
elseif kind ~= 'node:alive' and call('PERSIST', key) == 1 then
  did('it no longer expires')
end
return repaired()
