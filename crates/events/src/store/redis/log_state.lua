-- What this server is and how far its log goes. KEYS: the stream, the fence.
-- Answers role, identity, last id given ('' no stream), first and newest id that is kept ('' none),
-- and the fence's fields and values.
local info = redis.call('INFO', 'replication')
local role, identity = string.match(info, 'role:(%a+)'), string.match(info, 'master_replid:(%x+)')
local last, first, newest = '', '', ''
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    local name, fact = facts[i], facts[i + 1]
    if name == 'last-generated-id' then last = fact end
    if name == 'first-entry' and fact then first = fact[1] end
    if name == 'last-entry' and fact then newest = fact[1] end
  end
end
return { role, identity, last, first, newest, redis.call('HGETALL', KEYS[2]) }
