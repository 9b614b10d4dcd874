// Command lines that do in a terminal what this page does, with its own address and user.

/** `cursor` is where a poll of the user would go on now. */
export function commandLines(origin, { user, topics }, cursor) {
  const query = new URLSearchParams({ user });
  if (topics.length > 0) query.set('topics', topics.join(','));
  const subscriber = query.toString().replaceAll('%3A', ':').replaceAll('%2C', ',');
  const draft = JSON.stringify({ topic: `user:${user}`, type: 'notification', data: { text: 'hello' } });
  const webSocketOrigin = origin.replace(/^http/, 'ws');
  return {
    publish: `curl ${quote(`${origin}/v1/publish`)} -H 'Authorization: Bearer dev' -H 'Content-Type: application/json' -d ${quote(draft)}`,
    sse: `curl -N ${quote(`${origin}/v1/sse?${subscriber}&after=earliest`)}`,
    poll: `curl ${quote(`${origin}/v1/poll?${subscriber}&after=${cursor ?? 'earliest'}&wait=25`)}`,
    ws: `npx wscat -s throughline.v1 -c ${quote(`${webSocketOrigin}/v1/ws?${subscriber}`)}`,
  };
}

function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
