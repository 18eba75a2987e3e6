import { createHash } from 'node:crypto'

export interface Script { lua: string, sha: string, keys: number }

function script (keys: number, lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex'), keys }
}

/**
 * A term in ms, by the server's clock. A key without a value is in the epoch "history id:term". Redis accepts commits
 * on it in that term and the next one, and remembers a deleted key for three terms. So a commit from before the key
 * last had a value is refused, however late it arrives, and no epoch returns. The third term allows for clocks that go
 * back, and for replicas that take over.
 */
export const TERM = 20_000
export const REMEMBERED_TERMS = 3

/**
 * A key of the journal has three keys in Redis: a hash, a log and ids. The hash has e (epoch), v (version), live,
 * s (snapshot), sv (its version), size (bytes of the log) and since (bytes after the snapshot). The log is a list of
 * "id, line break, patches" that ends at v. The ids are those of the last 1,000 commits, so that a writer that lost its
 * reply finds its commit. KEYS: hash, log, ids. A script is atomic, and runs on the slot of its keys.
 */
const RECORD = `
-- an eviction policy may remove only some of the three keys: delete the rest, which is useless alone
do
  local v, sv = unpack(redis.call('HMGET', KEYS[1], 'v', 'sv'))
  local needed = tonumber(v or '0') - tonumber(sv or '0')
  if not v or redis.call('LLEN', KEYS[2]) < needed or (v ~= '0' and redis.call('EXISTS', KEYS[3]) == 0) then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  elseif v == '0' and redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], 60000) -- an older version deleted the key without an expiry
  end
end
-- the epoch of a key without a value: the reader's epoch, while commits in it are still accepted
local function absent (history, term, epoch)
  local time = redis.call('TIME')
  local now = math.floor((time[1] * 1000 + time[2] / 1000) / term)
  local before = history .. ':' .. string.format('%d', now - 1)
  return epoch == before and before or history .. ':' .. string.format('%d', now)
end
local function id_at (v, version)
  if version == 0 then return '' end
  return redis.call('LINDEX', KEYS[3], version - v - 1)
end
-- everything that a reader at this position lacks: { 0, e, v, live, id of v, lost, sv, s, entry... }
local function record (history, term, epoch, version, id)
  local h = redis.call('HMGET', KEYS[1], 'e', 'v', 'live', 'sv')
  local e, v, live, sv = h[1] or absent(history, term, epoch), tonumber(h[2] or '0'), h[3] or '0', tonumber(h[4] or '0')
  local start = v - redis.call('LLEN', KEYS[2])
  local reply = { 0, e, v, live, id_at(v, v) or '', '0', '', '' }
  local from = version
  local known = epoch == e and version <= v and id_at(v, version)
  if epoch == e and (version > v or (known and known ~= id)) then reply[6] = '1' end
  if known ~= id or version < start then
    from = sv
    if sv > 0 then
      reply[7] = sv
      reply[8] = redis.call('HGET', KEYS[1], 's')
    end
  end
  if from < v then
    for _, entry in ipairs(redis.call('LRANGE', KEYS[2], from - start, -1)) do reply[#reply + 1] = entry end
  end
  return reply
end
`

/** ARGV: history id, ms of a term, and the reader's epoch, version, id. */
export const READ = script(3, RECORD + 'return record(ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5])')

/**
 * ARGV: history id; base epoch, version, id; live; channel; command to publish; epoch, id and value of a reset;
 * version and value of a snapshot; whether it was sent before (2: longer than a term ago); ms until the key expires, or
 * ''; ms of a term; entries.
 * Replies { 1, epoch, version, bytes of log since the snapshot }, { 2 } if an earlier attempt may have taken effect, or
 * a record with the commits that the writer lacks.
 */
export const COMMIT = script(3, RECORD + `
local ENTRIES = 16
local term = tonumber(ARGV[15])
local history, epoch, base, id = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local live, channel, publish = ARGV[5], ARGV[6], ARGV[7]
local reset, value = ARGV[8], ARGV[10]
local h = redis.call('HMGET', KEYS[1], 'e', 'v', 'live', 'size', 'since')
local e, v, was_live = h[1] or absent(history, term, epoch), tonumber(h[2] or '0'), h[3] or '0'
local size, since = tonumber(h[4] or '0'), tonumber(h[5] or '0')
local count = #ARGV - ENTRIES + 1
local function id_of (entry) return string.match(entry, '^[^\\n]*') end

if e ~= epoch or v ~= base or id_at(v, v) ~= id then
  -- a Cluster client may repeat a call silently: find a commit that took effect by its id
  if reset ~= '' and e == reset then return { 1, e, value == '' and 0 or 1, 0 } end
  if e == epoch and count > 0 and v >= base + count then
    local known = id_at(v, base + 1)
    if known == id_of(ARGV[ENTRIES]) then return { 1, e, base + count, since } end
    if not known and ARGV[13] ~= '0' then return { 2 } end
  end
  -- the commit may have taken effect in an earlier epoch, which Redis may have forgotten
  if e ~= epoch and ARGV[13] ~= '0' and (h[1] or ARGV[13] == '2') then return { 2 } end
  return record(history, term, epoch, base, id)
end

local head
if reset ~= '' then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  e, v, live, size, since, head = reset, 0, '0', 0, 0, ''
  if value ~= '' then
    v, live, head = 1, was_live, ARGV[9]
    redis.call('HSET', KEYS[1], 'sv', 1, 's', value)
    redis.call('RPUSH', KEYS[3], head)
  end
else
  if was_live == '1' then live = '1' end
  head = id
  for i = ENTRIES, #ARGV do
    head = id_of(ARGV[i])
    redis.call('RPUSH', KEYS[2], ARGV[i])
    redis.call('RPUSH', KEYS[3], head)
    size, since = size + #ARGV[i], since + #ARGV[i]
  end
  v = v + count
  redis.call('LTRIM', KEYS[3], -1000, -1)
  local sv = tonumber(ARGV[11])
  if sv then
    redis.call('HSET', KEYS[1], 'sv', sv, 's', ARGV[12])
    -- keep a bounded part of the log before the snapshot, for recovery; none if no client could read it
    local kept, length = math.max(65536, #ARGV[12]), redis.call('LLEN', KEYS[2])
    if live ~= was_live then kept = 0 end
    while length > v - sv do
      local first = #redis.call('LINDEX', KEYS[2], 0)
      if size - first < kept and length <= 1000 then break end
      redis.call('LPOP', KEYS[2])
      size, length = size - first, length - 1
    end
    since = 0
    if v > sv then
      for _, entry in ipairs(redis.call('LRANGE', KEYS[2], sv - v, -1)) do since = since + #entry end
    end
  end
end
redis.call('HSET', KEYS[1], 'e', e, 'v', v, 'live', live, 'size', size, 'since', since)
local stays = ARGV[14]
if v == 0 then stays = string.format('%d', ${REMEMBERED_TERMS} * term) end
-- all three keys expire together: the clock does not advance within a script
if stays ~= '' then
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, stays) end
elseif redis.call('PTTL', KEYS[1]) >= 0 then
  for _, key in ipairs(KEYS) do redis.call('PERSIST', key) end
end
local notice = { 'n' .. live, epoch, base, id, e, v, head }
if reset == '' then
  for i = ENTRIES, #ARGV do notice[#notice + 1] = ARGV[i] end
end
redis.call(publish, channel, table.concat(notice, '\\n'))
return { 1, e, v, since }
`)

/**
 * KEYS: a list of runs "tick before after"; before and after are totals of all costs that the bucket ever admitted.
 * ARGV: window (ms), maximum, cost. Replies { allowed, remaining, ms until it is empty, ms until the cost fits }.
 * The clock is the server's. If it went back by more than a second, everything admitted counts as of now. So it never
 * admits more than the maximum, and nobody waits longer than a window.
 */
export const CONSUME = script(1, `
local window, max, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function parse (run)
  local tick, before, after = string.match(run, '(%d+) (%d+) (%d+)')
  return tonumber(tick), tonumber(before), tonumber(after)
end
local function run (tick, before, after) return string.format('%.0f %.0f %.0f', tick, before, after) end

local tick, before, after
while true do
  local first = redis.call('LINDEX', KEYS[1], 0)
  if not first then tick = nil; break end
  tick, before, after = parse(first)
  if tick > now - window then break end
  redis.call('LPOP', KEYS[1])
end
local last, used, total = now, 0, 0
if tick then
  local start
  start, last, before, total = before, parse(redis.call('LINDEX', KEYS[1], -1))
  used = total - start
  if last > now + 1000 then
    redis.call('DEL', KEYS[1])
    redis.call('RPUSH', KEYS[1], run(now, start, total))
    redis.call('PEXPIRE', KEYS[1], window + 1000)
    last, before, tick = now, start, now
  end
  now = math.max(now, last)
end

local wanted = math.max(cost, 1)
if used + wanted <= max then
  if cost > 0 then
    if tick and last == now then
      redis.call('LSET', KEYS[1], -1, run(now, before, total + cost))
    else
      redis.call('RPUSH', KEYS[1], run(now, total, total + cost))
    end
    redis.call('PEXPIRE', KEYS[1], window + 1000)
    used, last = used + cost, now
  end
  return { 1, max - used, used > 0 and last + window - now or 0, 0 }
end
-- the cost fits once enough of the oldest runs have left the window
local excess, wait = used + wanted - max, window
for _, old in ipairs(redis.call('LRANGE', KEYS[1], 0, excess - 1)) do
  tick, before, after = parse(old)
  excess = excess - (after - before)
  if excess <= 0 then wait = tick + window - now; break end
end
return { 0, max - used, used > 0 and last + window - now or 0, wait }
`)

/** Names per step of a scan, so that a script blocks Redis only briefly. */
const STEP = 500

/** KEYS of this and the following scripts: the set of names, and the sorted set. ARGV: names. */
export const LIST = script(2, `
redis.call('SADD', KEYS[1], unpack(ARGV))
local scored = {}
for _, name in ipairs(ARGV) do scored[#scored + 1] = 0; scored[#scored + 1] = name end
redis.call('ZADD', KEYS[2], unpack(scored))
return {}
`)

export const UNLIST = script(2, `
redis.call('SREM', KEYS[1], unpack(ARGV))
redis.call('ZREM', KEYS[2], unpack(ARGV))
return {}
`)

/** Replies { 1 } if both sets have the same number of names. */
export const COMPARE = script(2, "return { redis.call('SCARD', KEYS[1]) == redis.call('ZCARD', KEYS[2]) and 1 or 0 }")

/** Copies names from the set to the sorted set. ARGV: cursor. Replies { next cursor }. */
export const ADOPT = script(2, `
local cursor, names = unpack(redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ${STEP}))
for _, name in ipairs(names) do redis.call('ZADD', KEYS[2], 0, name) end
return { cursor }
`)

/** ARGV: cursor. Replies { next cursor, names that are in the sorted set only... }. */
export const ORPHANS = script(2, `
local cursor, found = unpack(redis.call('ZSCAN', KEYS[2], ARGV[1], 'COUNT', ${STEP}))
local reply = { cursor }
for at = 1, #found, 2 do
  if redis.call('SISMEMBER', KEYS[1], found[at]) == 0 then reply[#reply + 1] = found[at] end
end
return reply
`)
