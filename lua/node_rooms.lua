#!lua flags=no-writes
--- node_rooms: what nodes that are up have free, and what they have in all.
-- KEYS: prefix
-- ARGV: now_ms *nodes
-- Replies: one text with a line for each of these nodes that is up:
--   `ID free_cpu surplus_cpu free_memory total_cpu total_memory [task that it is reserved for] [labels] incarnation`
-- Refuses: nothing
-- Promises: reads only, all of them at one instant
--@include _check

local FIELDS = { 'state', 'free_cpu', 'surplus', 'free_memory', 'total_cpu', 'total_memory', 'reserved', 'labels',
  'incarnation' }

arguments_given(1, 1)
for i = 2, #ARGV do id_given(ARGV[i], 'node id') end
if wrong() then return wrong() end

local lines = {}
for i = 2, #ARGV do
  local r = fields_of(P .. 'node:' .. ARGV[i], unpack(FIELDS))
  if r[1] == 'up' and r[2] and r[4] and r[5] and r[6] then
    r[1], r[3], r[7], r[8], r[9] = ARGV[i], r[3] or '0', r[7] or '', r[8] or '', r[9] or ''
    lines[#lines + 1] = table.concat(r, ' ')
  end
end
return table.concat(lines, '\n')
