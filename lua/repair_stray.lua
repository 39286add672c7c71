#!lua flags=allow-oom
--- repair_stray: drop an entry of an index that says nothing.
-- KEYS: prefix
-- ARGV: now_ms index member
--   index: nodes, gone, free, totals, ends, dirty, free:LABEL, totals:LABEL; groups, classes:GROUP; preemptible
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: an entry that could be one isn't touched
--@include _queue
--@include _repair

local KINDS = {
  nodes = 'node', gone = 'node', free = 'node', totals = 'node', ends = 'node', dirty = 'node', groups = 'head', classes = 'head',
  preemptible = 'attempt',
}

arguments_given(3)
local index, member = found_given(ARGV[2], 'index'), found_given(ARGV[3], 'member')
local kind = KINDS[string.match(index, '^%a+') or '']
if wrong() then return wrong() end

local function says_something()
  if kind == 'node' then return is_id(member) end
  if kind == 'attempt' then return string.find(member, '^%S+ %w[%w._-]*$') ~= nil end
  return string.find(string.sub(member, 1, PY.SEQUENCE), '^%x+$') and need_of(string.sub(member, PY.SEQUENCE + 1)) ~= nil
end

if kind and not says_something() and read('ZREM', P .. index, member) == 1 then did(index .. ': an entry that says nothing dropped') end
return repaired()
