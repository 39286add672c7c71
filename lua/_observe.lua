--@include _schema
-- Whether Redis was there all the time. Sweeps, heartbeats and registrations note when they ran; a hole between two of
-- them may be an outage, or a jump of the clock, in which no node could renew its lease: it isn't held against the nodes.
-- `swept` holds LAST BACK HOLES SWEEP (ms): the last note; 1 if the clock went back and no sweep has put the leases right
-- yet; the holes of the last minute, END:SIZE,… (eight at most: the smallest is left out), `-` none; the last sweep.

local SHORT = 250 -- ms: what is shorter is no hole
local REMEMBERED, MOST_HOLES = 60000, 8

local function swept_text()
  local text = read('GET', P .. 'swept')
  return type(text) == 'string' and text or ''
end

-- The last hole is this one; of too many the smallest is forgotten. Holes don't make a hole older: they may be jumps of the
-- clock.
local function add_hole(holes, ends, size)
  local young, smallest, later = { { ends = ends, size = size } }, nil, size
  for i = #holes, 1, -1 do
    local hole = holes[i]
    if ends - hole.ends - later < REMEMBERED then table.insert(young, 1, hole) end
    later = later + hole.size
  end
  if #young > MOST_HOLES then
    for i = 1, #young - 1 do
      if not smallest or young[i].size < young[smallest].size then smallest = i end
    end
    table.remove(young, smallest)
  end
  return young
end

local function observe(now)
  local last, back, holes, sweep = string.match(swept_text(), '^(%d+) ([01]) ([%d:,-]+) (%d+)$')
  local seen = { back = back == '1', holes = {}, sweep = tonumber(sweep) or 0 }
  for ends, size in string.gmatch(holes or '', '(%d+):(%d+)') do
    seen.holes[#seen.holes + 1] = { ends = tonumber(ends), size = tonumber(size) }
  end
  local gap = now - (tonumber(last) or now)
  if gap < 0 then
    seen.back, seen.holes = true, {}
  elseif gap > SHORT then
    seen.holes = add_hole(seen.holes, now, gap)
  end
  return seen
end

local function observed(now, seen)
  local holes = {}
  for i, hole in ipairs(seen.holes) do
    holes[i] = whole(hole.ends) .. ':' .. whole(hole.size)
  end
  local text = #holes > 0 and table.concat(holes, ',') or '-'
  schema_say()
  call('SET', P .. 'swept', whole(now) .. (seen.back and ' 1 ' or ' 0 ') .. text .. ' ' .. whole(seen.sweep))
end
