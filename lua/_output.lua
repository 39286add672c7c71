--@include _record
-- The captured output of a task: the last 64 KiB, or what it asks for, with marks (rq_sched/model/output.py) that say what
-- was cut, where a further attempt begins, and to which stream it was written.

local MOST_OUTPUT = 2 * PY.MOST_OUTPUT_LIMIT -- in one call, with marks
local OUTPUT_MARK = '\30rqs (%a+)=(%d+)\n'

-- The last bytes. Before them stand how much was cut in all, and of which attempt and stream the first of them are.
local function output_trimmed(text, limit)
  local dropped, kept = string.sub(text, 1, -limit - 1), string.sub(text, -limit)
  local mark = string.match(dropped, '\30rqs [^\n]*$') or '' -- a mark isn't cut in two
  dropped, kept = string.sub(dropped, 1, #dropped - #mark), mark .. kept
  local cut, attempt, stream = #dropped, '', ''
  for kind, number in string.gmatch(dropped, OUTPUT_MARK) do
    cut = cut - #kind - #number - 7
    if kind == 'cut' then cut = cut + math.min(tonumber(number), PY.EXACT - 1) end
    if kind == 'attempt' then attempt = '\30rqs attempt=' .. number .. '\n' end
    if kind == 'stream' then stream = '\30rqs stream=' .. number .. '\n' end
  end
  return string.format('%s\30rqs cut=%.0f\n%s', attempt, math.min(cut, PY.EXACT - 1), stream) .. kept
end

local function output_append(id, data)
  if data == '' then return end -- APPEND would make a key
  local key = P .. 'log:' .. id
  local length = read('APPEND', key, data)
  if type(length) == 'table' then -- of another type: no output of a task, so that it begins anew
    call('SET', key, data)
  elseif length > 2 * PY.OUTPUT_LIMIT then -- trimmed only now and then
    local asked = whole_of(string.match(request_text(id) or '', '\nlog_limit=(%d+)\n'))
    local limit = math.max(PY.OUTPUT_LIMIT, math.min(asked or 0, PY.MOST_OUTPUT_LIMIT))
    if length > 2 * limit then call('SET', key, output_trimmed(call('GET', key), limit)) end
  end
end
