// One connection over one transport. A link knows how bytes travel and nothing about cursors or
// counts: it hands every message to `sink.message` and says once, by `sink.ended`, why it is over.
// After `close()` it says nothing more.

export const TRANSPORTS = ['ws', 'sse', 'poll'];

const POLL_WAIT_SECONDS = 25;
/** Close codes after which the same request cannot succeed. */
const FATAL_CLOSE_CODES = new Set([4400, 4401, 4403, 4410]);
/** Close codes that ask for more than the usual backoff: rate limited, store unreachable. */
const CLOSE_CODE_DELAYS_MS = new Map([[4429, 5000], [4503, 1000]]);
const FATAL_STATUSES = new Set([400, 401, 403, 404, 405, 413]);

/**
 * Opens a link. `request.query(extra)` gives the query parameters as they stand at that moment,
 * because a poll asks again with a newer cursor each time.
 */
export function openLink(transport, request, sink) {
  const guarded = guard(sink);
  const close = { ws: openWebSocket, sse: openEventStream, poll: openPoll }[transport](request, guarded);
  return {
    transport,
    close() {
      guarded.silence();
      close();
    },
  };
}

function guard(sink) {
  let open = true;
  return {
    isOpen: () => open,
    silence: () => { open = false; },
    message(message) {
      if (!open) return;
      try {
        sink.message(message);
      } catch (error) {
        // A fault of the page is not a fault of the connection.
        reportError(error);
      }
    },
    ended: (end) => {
      if (!open) return;
      open = false;
      sink.ended(end);
    },
  };
}

function openWebSocket(request, sink) {
  const url = new URL(`/v1/ws?${request.query()}`, location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url, 'throughline.v1');
  socket.addEventListener('message', (event) => {
    try {
      sink.message(JSON.parse(event.data));
    } catch (error) {
      sink.ended({ reason: reasonOf(error) });
    }
  });
  socket.addEventListener('close', ({ code, reason }) => {
    sink.ended({
      reason: `closed with ${code}${reason ? `: ${reason}` : ''}`,
      fatal: FATAL_CLOSE_CODES.has(code),
      retryAfterMs: CLOSE_CODE_DELAYS_MS.get(code),
    });
  });
  return () => {
    // Closing a socket that is still connecting is reported as an error in the console.
    if (socket.readyState === WebSocket.CONNECTING) socket.addEventListener('open', () => socket.close());
    else socket.close();
  };
}

function openEventStream(request, sink) {
  const abort = new AbortController();
  (async () => {
    const response = await fetch(`/v1/sse?${request.query()}`, { signal: abort.signal, cache: 'no-store' });
    if (!response.ok) return sink.ended(await refusal(response));
    const parser = new EventStreamParser((data) => sink.message(JSON.parse(data)));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return sink.ended({ reason: 'stream ended' });
      parser.feed(value);
    }
  })().catch((error) => sink.ended({ reason: reasonOf(error) }));
  return () => abort.abort();
}

/** The part of the event stream format that carries data: fields, comments, a blank line. */
export class EventStreamParser {
  constructor(deliver) {
    this.deliver = deliver;
    this.rest = '';
    this.data = [];
  }

  feed(text) {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (line === '') this.flush();
      else if (line.startsWith('data:')) this.data.push(line.slice(line[5] === ' ' ? 6 : 5));
    }
  }

  flush() {
    if (this.data.length > 0) this.deliver(this.data.join('\n'));
    this.data = [];
  }
}

function openPoll(request, sink) {
  const abort = new AbortController();
  // The first answer comes at once, so that a poller that has nothing to catch up with knows it.
  let wait = 0;
  (async () => {
    while (sink.isOpen()) {
      const response = await fetch(`/v1/poll?${request.query({ wait })}`, { signal: abort.signal, cache: 'no-store' });
      if (!response.ok) return sink.ended(await refusal(response));
      sink.message(await response.json());
      wait = POLL_WAIT_SECONDS;
    }
  })().catch((error) => sink.ended({ reason: reasonOf(error) }));
  return () => abort.abort();
}

async function refusal(response) {
  const retryAfter = Number(response.headers.get('Retry-After'));
  const problem = await response.json().catch(() => ({}));
  return {
    reason: `${response.status} ${problem.detail || problem.title || response.statusText}`.trim(),
    fatal: FATAL_STATUSES.has(response.status),
    retryAfterMs: Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter * 1000 : undefined,
  };
}

function reasonOf(error) {
  return error instanceof TypeError ? 'connection lost' : String(error.message || error);
}
