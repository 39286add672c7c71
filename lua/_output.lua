--@include _base
-- The captured output of a task: the last 64 KiB, with marks (rq_sched/model/output.py) that say what was cut, and where a
-- further attempt begins.

local MOST_OUTPUT = 1048576 -- in one call
local OUTPUT_MARK = '\30rqs (%a+)=(%d+)\n'

-- The last 64 KiB. Before them stand how much was cut in all, and of which attempt the first of them are.
local function output_trimmed(text)
  local dropped, kept = string.sub(text, 1, -PY.OUTPUT_LIMIT - 1), string.sub(text, -PY.OUTPUT_LIMIT)
  local mark = string.match(dropped, '\30rqs [^\n]*$') or '' -- a mark isn't cut in two
  dropped, kept = string.sub(dropped, 1, #dropped - #mark), mark .. kept
  local cut, attempt = #dropped, ''
  for kind, number in string.gmatch(dropped, OUTPUT_MARK) do
    cut = cut - #kind - #number - 7
    if kind == 'cut' then cut = cut + math.min(tonumber(number), PY.EXACT - 1) end
    if kind == 'attempt' then attempt = '\30rqs attempt=' .. number .. '\n' end
  end
  return string.format('%s\30rqs cut=%.0f\n', attempt, math.min(cut, PY.EXACT - 1)) .. kept
end

local function output_append(id, data)
  if data == '' then return end -- APPEND would make a key
  local key = P .. 'log:' .. id
  local length = read('APPEND', key, data)
  if type(length) == 'table' then -- of another type: no output of a task, so that it begins anew
    call('SET', key, data)
  elseif length > 2 * PY.OUTPUT_LIMIT then -- trimmed only now and then
    call('SET', key, output_trimmed(call('GET', key)))
  end
end
