// The zeros on the page mean something: where the path between gateway and page lies, the page says so.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './browser.js';
import { Gateway } from './gateway.js';

let gateway;
let browser;
let users = 0;

before(async () => {
  [gateway, browser] = await Promise.all([Gateway.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** Opens a page on which the WebSocket lane's batches with events pass through `tamper`. */
async function openTampered(t, tamper) {
  const user = `victim-${++users}`;
  const shown = await open(browser, gateway.origin, {
    user,
    prepare: (page) => page.routeWebSocket(/\/v1\/ws/, (socket) => {
      const server = socket.connectToServer();
      server.onMessage((text) => {
        const batch = JSON.parse(text);
        if (batch.events?.length > 0) tamper(batch);
        socket.send(JSON.stringify(batch));
      });
    }),
  });
  t.after(() => shown.close());
  // The roaming lane would meet the same, whenever it is on a WebSocket.
  await shown.page.getByRole('button', { name: 'Block Roaming' }).click();
  return shown;
}

const burst = (shown) => shown.page.getByRole('button', { name: 'Burst of 100' }).click();

test('an event left out of a batch is a hole', async (t) => {
  const shown = await openTampered(t, (batch) => batch.events.splice(0, 1));
  await burst(shown);
  const { ws, sse } = await shown.until((lanes) => lanes.ws.holes > 0, 'the hole');
  assert.ok(ws.notes.includes('acknowledged'), ws.notes);
  assert.equal(sse.holes, 0);
});

test('a batch that does not begin at the cursor is a hole, and the lane goes back to its cursor', async (t) => {
  let lies = 1;
  const shown = await openTampered(t, (batch) => {
    if (lies-- > 0) batch.after = batch.cursor;
  });
  await burst(shown);
  const { ws } = await shown.until((lanes) => lanes.ws.holes === 1 && lanes.ws.events === 100, 'the hole, then every event');
  assert.ok(ws.notes.includes('a batch began after'), ws.notes);
  assert.equal(ws.duplicates, 0);
});

test('an event that comes twice is dropped and counted', async (t) => {
  const shown = await openTampered(t, (batch) => batch.events.push(batch.events[0]));
  await burst(shown);
  const { ws } = await shown.until((lanes) => lanes.ws.events === 100 && lanes.ws.duplicates > 0);
  assert.equal(ws.holes, 0);
});

test('the roaming client says so when it is not exactly once', async (t) => {
  const user = `victim-${++users}`;
  const shown = await open(browser, gateway.origin, {
    user,
    prepare: (page) => page.route(/\/v1\/poll\?.*after=/, async (route) => {
      const response = await route.fetch();
      const batch = await response.json();
      batch.events = batch.events.slice(1);
      await route.fulfill({ response, json: batch });
    }),
  });
  t.after(() => shown.close());
  await shown.page.getByRole('button', { name: 'Run a job' }).click();
  const { roaming } = await shown.until((lanes) => lanes.roaming.holes > 0 && lanes.roaming.events > 0);
  assert.equal(roaming.verdictText, 'Not exactly once');
});

/** Opens a page and cuts its SSE lane, whose next request is answered with `refusal` by the way. */
async function openRefused(t, refusal) {
  const asked = [];
  const shown = await open(browser, gateway.origin, { user: `victim-${++users}` });
  t.after(() => shown.close());
  // The roaming lane would take the refusal, whenever it is on SSE.
  await shown.page.getByRole('button', { name: 'Block Roaming' }).click();
  await shown.page.route(/\/v1\/sse/, (route) => (asked.push(Date.now()) === 1 ? route.fulfill(refusal) : route.continue()));
  await shown.page.getByRole('button', { name: 'Cut SSE' }).click();
  return { shown, asked };
}

test('a gateway that is busy is asked again when it says', async (t) => {
  const { shown, asked } = await openRefused(t, {
    status: 503,
    headers: { 'Retry-After': '1' },
    json: { title: 'unavailable', detail: 'the store is away' },
  });
  const { sse } = await shown.until((lanes) => lanes.sse.resumes === 1, 'the lane to resume');
  assert.ok(sse.notes.includes('503 the store is away'), sse.notes);
  assert.ok(asked[1] - asked[0] >= 1000, `it came back after ${asked[1] - asked[0]} ms`);
});

test('a refusal that cannot change stops the lane until the user asks', async (t) => {
  const { shown, asked } = await openRefused(t, { status: 403, json: { title: 'forbidden', detail: 'not yours' } });
  await shown.state('sse', 'stopped');
  await shown.page.waitForTimeout(1000);
  assert.equal(asked.length, 1, 'it does not come back by itself');
  await shown.page.getByRole('button', { name: 'Reconnect SSE' }).click();
  await shown.state('sse', 'live');
});
