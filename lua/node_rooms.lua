#!lua flags=no-writes
--- node_rooms: what nodes that are up have free, and what they have in all.
-- KEYS: prefix
-- ARGV: now_ms *nodes
-- Replies: one text with a line for each of these nodes that is up:
--   `ID free_cpu surplus_cpu free_memory total_cpu total_memory [task that it is reserved for] [labels] incarnation`, and
--   behind a tab each, where it has resources, what it has of these and what is free of it
-- Refuses: nothing
-- Promises: reads only, all of them at one instant
--@include _check

local FIELDS = { 'state', 'free_cpu', 'surplus', 'free_memory', 'total_cpu', 'total_memory', 'reserved', 'labels',
  'incarnation', 'resources', 'free_resources' }

arguments_given(1, 1)
for i = 2, #ARGV do id_given(ARGV[i], 'node id') end
if wrong() then return wrong() end

local lines = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local state, free_cpu, surplus, free_memory, total_cpu, total_memory, reserved, labels, incarnation,
    resources, free_resources =
    unpack(fields_of(P .. 'node:' .. id, unpack(FIELDS)))
  if state == 'up' and free_cpu and free_memory and total_cpu and total_memory then
    local line = table.concat({ id, free_cpu, surplus or '0', free_memory, total_cpu, total_memory, reserved or '',
      labels or '', incarnation or '' }, ' ')
    lines[#lines + 1] = resources and table.concat({ line, resources, free_resources or '' }, '\t') or line
  end
end
return table.concat(lines, '\n')
