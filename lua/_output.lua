--@include _base
-- The captured output of a task: the last 64 KiB.

local OUTPUT_LIMIT = 65536
local MOST_OUTPUT = 1048576 -- in one call

local function output_append(id, data)
  if data == '' then return end -- APPEND would make a key
  local key = P .. 'log:' .. id
  if call('APPEND', key, data) > 2 * OUTPUT_LIMIT then -- trimmed only now and then
    call('SET', key, call('GETRANGE', key, -OUTPUT_LIMIT, -1))
  end
end
