--@include _base
-- Whether Redis was there all the time. Sweeps, heartbeats and registrations note when they ran; a hole between two of
-- them may be an outage, or a jump of the clock, in which no node could renew its lease: it isn't held against the nodes.
-- `swept` holds LAST SINCE SIZE HOLE AT ROW SWEEP (ms): the last note; when the last long hole ended, and its size; the
-- largest short hole of late, and when the last one ended; how many long holes came in a row, with a single note between
-- each two; the last sweep.

local LONG, SHORT = 1500, 250
local IN_A_ROW = 3 -- long holes that count: outages come so, but where all notes come late the dead would live on for ever
local SET_BACK = 1e15 -- as SIZE: the clock went back, and no sweep has put the leases right yet

local function swept_text()
  local text = read('GET', P .. 'swept')
  return type(text) == 'string' and text or ''
end

local function observe(now)
  local last, since, size, hole, at, row, sweep =
    string.match(swept_text(), '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  local seen = {
    since = tonumber(since) or 0, size = tonumber(size) or 0, hole = tonumber(hole) or 0, at = tonumber(at) or 0,
    row = tonumber(row) or 0, sweep = tonumber(sweep) or 0,
  }
  last = tonumber(last) or now
  local gap = now - last
  seen.row = gap > LONG and seen.row + 1 or 0
  if gap < 0 then
    seen.since, seen.size, seen.hole, seen.at = now, SET_BACK, 0, 0
  elseif gap > LONG then
    if seen.row <= IN_A_ROW then seen.since, seen.size = now, gap end
  elseif gap > SHORT then
    seen.hole, seen.at = math.max(gap, seen.hole - math.floor((now - seen.at) / 4)), now -- a large one counts for a while
  end
  return seen
end

local function observed(now, seen)
  local form = '%.0f %.0f %.0f %.0f %.0f %.0f %.0f'
  call('SET', P .. 'swept', string.format(form, now, seen.since, seen.size, seen.hole, seen.at, seen.row, seen.sweep))
end
