-- Appends a run of drafts, or with none only makes sure that the log is open.
-- KEYS: the stream, the fence, then for each draft in turn: its token's key, and its topics' keys.
-- ARGV: two random numbers below 1024, the most entries, for how many ms a topic's last is kept, the channel of ephemeral
-- events, the number of drafts, then for each: for how many ms its token is kept, its number of topics, what it expects
-- ('' nothing), what it is (e event, a event that is kept apart, x ephemeral, l notice of loss), its bytes, and a name
-- of this try that no other draft has.
-- Answers the generation, then for each draft a letter and an id: o appended, x sent, c conflict; for a repeated one d,
-- the first answer, and the name that came with it.
local stream, fence = KEYS[1], KEYS[2]
local random, leap, length, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is not a master')
end
local identity = string.match(info, 'master_replid:(%x+)')
if not identity then return redis.error_reply('NOIDENTITY no master_replid in INFO') end

local function number(n) return string.format('%.0f', n) end

local function last_of_stream()
  if redis.call('EXISTS', stream) == 0 then return nil end
  local facts = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then return string.match(facts[i + 1], '^(%d+)%-(%d+)$') end
  end
end

local held = redis.call('HMGET', fence, 'id', 'gen')
local generation = held[2]

-- A new generation: remembers where the one before ended and says so in the stream.
local function open()
  local old, ended = last_of_stream()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local newest = math.max(now, tonumber(old or 0), tonumber(generation or 0))
  generation = number(newest + 1 + random)
  if old then
    redis.call('HSET', fence, old, ended)
    if redis.call('HLEN', fence) > 258 then
      local known = {}
      for _, name in ipairs(redis.call('HKEYS', fence)) do
        if tonumber(name) then known[#known + 1] = name end
      end
      table.sort(known, function(a, b) return tonumber(a) < tonumber(b) end)
      for i = 1, #known - 256 do redis.call('HDEL', fence, known[i]) end
    end
  else
    -- Nothing of what came before is known to be history.
    redis.call('DEL', fence)
    old, ended = '0', '0'
  end
  redis.call('HSET', fence, 'id', identity, 'gen', generation)
  -- A jump, so that a number that was given and lost is practically never given again.
  local first = number(tonumber(ended) + (1 + leap) * 1048576)
  redis.call('XADD', stream, generation .. '-' .. first, 'k', 'gen', 'prev', old .. '-' .. ended)
end

-- What is in the stream may be another's: numbers would be given twice.
if held[1] ~= identity or not generation or last_of_stream() ~= generation then open() end

-- Whether what was answered at first is part of this log: what was deleted or replaced takes its tokens' word along.
local function lives(answer)
  local of, n = string.match(answer, '^%a(%d+)%-(%d+)')
  if of == generation then return true end
  local ended = of and redis.call('HGET', fence, of)
  return ended and tonumber(n) <= tonumber(ended)
end

local answers = { generation }
local key, at = 3, 7
for draft = 1, tonumber(ARGV[6]) do
  local token_ms, topics, expect, sort, bytes = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local name = ARGV[at + 5]
  at = at + 6
  local token, first_topic = KEYS[key], key + 1
  key = first_topic + topics
  local answer
  local known = redis.call('GET', token)
  if known and not lives(known) then known = nil end
  if known then
    -- A write, so that a WAIT on this connection covers the first append too.
    redis.call('PEXPIRE', token, token_ms)
    answer = 'd' .. known
  elseif expect ~= '' then
    local last = redis.call('GET', KEYS[first_topic])
    local of, n
    if last then of, n = string.match(last, '^(%d+)%-(%d+)$') end
    if of and of ~= generation and redis.call('HEXISTS', fence, of) == 0 then n = nil end
    n = n or '0'
    if n ~= expect then answer = 'c' .. n end
  end
  if not answer then
    if sort == 'x' then
      local _, seen = last_of_stream()
      answer = 'x' .. generation .. '-' .. seen
      redis.call('PUBLISH', ARGV[5], bytes)
    else
      local id
      if sort == 'l' then
        id = redis.call('XADD', stream, 'MAXLEN', '~', length, generation .. '-*', 'k', 'lost', 'd', bytes)
      else
        id = redis.call('XADD', stream, 'MAXLEN', '~', length, generation .. '-*', 'd', bytes)
      end
      answer = 'o' .. id
      if sort == 'e' then
        for i = first_topic, key - 1 do redis.call('SET', KEYS[i], id, 'PX', keep) end
      end
    end
    redis.call('SET', token, answer .. ' ' .. name, 'PX', token_ms)
  end
  answers[#answers + 1] = answer
end
return answers
