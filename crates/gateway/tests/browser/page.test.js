// What a newcomer does on the page, in Chromium against the real gateway.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launch, LANES, open } from './browser.js';
import { Gateway } from './gateway.js';

const NAMES = { ws: 'WebSocket', sse: 'SSE', poll: 'Long-poll', roaming: 'Roaming' };
const run = promisify(execFile);
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

/** A test on a page of its own user, which must not complain in the console. */
function pageTest(name, body, options = {}) {
  test(name, async (t) => {
    const user = `user-${++users}`;
    const shown = await open(browser, gateway.origin, { user, ...options });
    t.after(() => shown.close());
    await body(shown, user);
    assert.deepEqual(shown.complaints, [], 'errors and warnings in the console');
  });
}

function assertExactlyOnce(lanes) {
  for (const lane of LANES) {
    const { duplicates, holes, resets } = lanes[lane];
    assert.deepEqual({ duplicates, holes, resets }, { duplicates: 0, holes: 0, resets: 0 }, `${lane} lane`);
  }
}

pageTest('an event published on the page arrives in every lane, once', async (shown) => {
  const { page } = shown;
  await page.getByLabel('Data, JSON').fill('{"text":"first of all"}');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  const lanes = await shown.everyLaneHas(1);
  assertExactlyOnce(lanes);
  for (const lane of ['ws', 'sse', 'poll']) assert.match(lanes[lane].event, /^notification \{"text":"first of all"\}$/);
  assert.equal(lanes.roaming.verdictText, 'Exactly once, in order');
  assert.match(await page.locator('#published').textContent(), /^Published one event, seq \d+\.$/);
});

pageTest('each lane that is cut resumes from its cursor by itself', async (shown, user) => {
  let published = 0;
  for (const lane of ['ws', 'sse', 'poll']) {
    await shown.page.getByRole('button', { name: `Cut ${NAMES[lane]}` }).click();
    await shown.state(lane, 'cut');
    const { cursor } = (await shown.read())[lane];
    await gateway.publish(Array.from({ length: 7 }, (_, n) => ({ topic: `user:${user}`, type: 'notification', data: { n } })));
    published += 7;
    const lanes = await shown.everyLaneHas(published);
    assertExactlyOnce(lanes);
    await shown.state(lane, 'live');
    const { resumes, notes } = (await shown.read())[lane];
    assert.equal(resumes, 1, `${lane} resumed once`);
    assert.ok(notes.includes(`Resumed after ${cursor}: 7 replayed`), notes);
  }
});

pageTest('a blocked lane lags, and catches up when it is released', async (shown) => {
  const { page } = shown;
  for (const lane of ['ws', 'sse', 'poll', 'roaming']) {
    const start = (await shown.read())[lane].events;
    await page.getByRole('button', { name: `Block ${NAMES[lane]}` }).click();
    await shown.state(lane, 'blocked');
    await page.getByRole('button', { name: 'Burst of 100' }).click();
    const others = LANES.filter((other) => other !== lane);
    const lanes = await shown.until(
      (seen) => seen[lane].lag === 100 && others.every((other) => seen[other].events === start + 100),
      `100 events everywhere but on ${lane}`,
    );
    assert.equal(lanes[lane].events, start);
    assert.equal(await page.locator(`[id="lag-${NAMES[lane]}"]`).textContent(), '100 behind');
    await shown.screenshot(`blocked-${lane}`);
    await page.getByRole('button', { name: `Release ${NAMES[lane]}` }).click();
    assertExactlyOnce(await shown.everyLaneHas(start + 100));
  }
});

pageTest('the roaming client hops under load: exactly once, in order', async (shown, user) => {
  const { page } = shown;
  const stays = () => page.locator('#trail li').evaluateAll((items) => {
    const events = { ws: 0, sse: 0, poll: 0 };
    for (const item of items) events[item.dataset.transport] += Number(item.lastElementChild.textContent);
    return events;
  });
  let published = 0;
  // Long enough to see much, short enough that the trail still reaches back to the start.
  const [soonest, latest] = [Date.now() + 5000, Date.now() + 40_000];
  for (let enough = false; !enough && Date.now() < latest;) {
    const drafts = Array.from({ length: 1 + (published % 5) }, () => ({ topic: `user:${user}`, type: 'progress', data: { jobId: 'x', progress: published % 101 } }));
    await gateway.publish(drafts);
    published += drafts.length;
    await new Promise((resolve) => setTimeout(resolve, 15));
    enough = Date.now() > soonest && published > 300 && (await shown.hops()) >= 6 && Object.values(await stays()).every((events) => events > 0);
  }
  const lanes = await shown.everyLaneHas(published);
  assertExactlyOnce(lanes);
  assert.equal(lanes.roaming.verdictText, 'Exactly once, in order');
  assert.ok((await shown.hops()) >= 6, 'it hopped');
  const brought = await stays();
  for (const [transport, events] of Object.entries(brought)) assert.ok(events > 0, `${transport} brought events`);
  assert.equal(brought.ws + brought.sse + brought.poll, published, 'the trail accounts for every event');
  await shown.screenshot('roaming');
});

pageTest('a job moves the progress bar of every lane', async (shown) => {
  const { page } = shown;
  await page.getByRole('button', { name: 'Run a job' }).click();
  await shown.until((lanes) => LANES.every((lane) => /^job \d+ · [1-9]\d* %$/.test(lanes[lane].barText)), 'progress in every lane');
  assert.equal(await page.getByRole('button', { name: 'Auto' }).getAttribute('aria-pressed'), 'true');
  await page.getByRole('button', { name: 'Stop the job' }).click();
  assert.equal(await page.getByRole('button', { name: 'Auto' }).getAttribute('aria-pressed'), 'false');
});

pageTest('a lane that fell out of the ring says that it was reset', async (shown, user) => {
  const { page } = shown;
  await page.getByRole('button', { name: 'Block SSE' }).click();
  for (let i = 1; i <= 3; i++) {
    await page.getByRole('button', { name: 'Burst of 100' }).click();
    await shown.until((lanes) => lanes.ws.events === 100 * i);
  }
  await page.getByRole('button', { name: 'Release SSE' }).click();
  await shown.state('sse', 'live');
  const lanes = await shown.until(({ sse }) => sse.lag === 0);
  assert.equal(lanes.sse.resets, 1);
  assert.match(lanes.sse.resetText, new RegExp(`^expired: user:${user}\\. .*the application would refetch here`));
  assert.ok(lanes.sse.events < 300 && lanes.sse.events > 0, `${lanes.sse.events} of 300 events were still there`);
  assert.equal(lanes.sse.holes, 0, 'what a reset covers is no hole');
  assert.equal(lanes.ws.resets, 0);
  await shown.screenshot('reset');
});

pageTest('other topics and other users', async (shown) => {
  const { page } = shown;
  await page.getByLabel('User', { exact: true }).fill('bob');
  await page.getByLabel('More topics').fill('room:1, room:2');
  await page.getByRole('button', { name: 'Subscribe' }).click();
  await shown.until((lanes) => lanes.ws.state === 'live' && lanes.ws.cursor !== 'none yet');
  assert.match(page.url(), /\?user=bob&topics=room%3A1%2Croom%3A2$/);
  await gateway.publish([
    { topic: 'room:2', type: 'greeting', data: 'to the room' },
    { topic: 'room:3', type: 'greeting', data: 'to nobody here' },
    { topic: 'user:alice', type: 'greeting', data: 'to alice' },
    { topic: 'user:bob', type: 'greeting', data: 'to bob' },
  ]);
  const lanes = await shown.everyLaneHas(2);
  assert.equal(lanes.ws.event, 'greeting "to bob"');
  await page.getByLabel('User', { exact: true }).fill('not a name');
  await page.getByRole('button', { name: 'Subscribe' }).click();
  assert.match(await page.locator('#subscriber-error').textContent(), /^A user name may contain/);
});

pageTest('data that is not JSON is refused where it was typed', async (shown) => {
  const { page } = shown;
  const data = page.getByLabel('Data, JSON');
  await data.fill('{"a": }');
  assert.match(await page.locator('#data-error').textContent(), /^Data is not valid JSON: /);
  assert.equal(await data.getAttribute('aria-invalid'), 'true');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await data.fill('{"a": 1}');
  assert.equal(await page.locator('#data-error').isVisible(), false);
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  assert.equal((await shown.everyLaneHas(1)).ws.event, 'notification {"a":1}');
});

pageTest('events are shown as text, never as markup', async (shown, user) => {
  const markup = '<img src=x onerror="document.title=1"><b class=smuggled>bold</b>';
  await gateway.publish([{ topic: `user:${user}`, type: 'notification', data: markup }, { topic: `user:${user}`, type: 'progress', data: { jobId: markup, progress: 5 } }]);
  const lanes = await shown.everyLaneHas(2);
  assert.ok(lanes.ws.barText.includes('<b class=smuggled>'));
  assert.equal(await shown.page.locator('.smuggled, img[src="x"]').count(), 0);
});

pageTest('the command lines run as they stand', async (shown, user) => {
  const line = async (name) => (await shown.page.locator(`#command-${name}`).textContent()).replace(/^curl /, 'curl -sS ');
  const published = JSON.parse((await run('sh', ['-c', await line('publish')])).stdout);
  assert.ok(published.seq > 0);
  await shown.everyLaneHas(1);
  const streamed = await run('sh', ['-c', `${await line('sse')} --max-time 2`]).catch((error) => error);
  assert.match(streamed.stdout, new RegExp(`"topic":"user:${user}","type":"notification"`));
  const waiting = run('sh', ['-c', await line('poll')]);
  await run('sh', ['-c', await line('publish')]);
  assert.equal(JSON.parse((await waiting).stdout).events.length, 1);
  assert.match(await line('ws'), /^npx wscat -s throughline\.v1 -c 'ws:\/\/127\.0\.0\.1:\d+\/v1\/ws\?user=user-\d+'$/);
});

pageTest('a command line can be copied', async (shown) => {
  const { page } = shown;
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy the SSE command' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await page.locator('#command-sse').textContent());
});

pageTest('a hidden page parks the roaming client on a WebSocket', async (shown) => {
  const { page } = shown;
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  const hops = await shown.hops();
  await page.waitForTimeout(2000);
  assert.equal(await shown.hops(), hops);
  assert.equal(await page.locator('#roaming').getAttribute('data-transport'), 'ws');
  await hide(false);
  await page.waitForTimeout(2000);
  assert.ok((await shown.hops()) > hops);
});

test('the page may load and run its own files only', async () => {
  const page = await fetch(gateway.origin);
  const policy = page.headers.get('Content-Security-Policy');
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
});

test('a gateway that starts anew with an empty log resets every lane', async (t) => {
  let own = await Gateway.start();
  const shown = await open(browser, own.origin, { user: 'alice' });
  t.after(async () => {
    await shown.close();
    await own.stop();
  });
  await own.publish([{ topic: 'user:alice', type: 'notification', data: 'before' }]);
  await shown.everyLaneHas(1);
  const { address } = own;
  await own.stop('SIGKILL');
  for (const lane of ['ws', 'sse', 'poll']) await shown.state(lane, 'cut', 'connecting');
  own = await Gateway.start(address);
  for (const lane of ['ws', 'sse', 'poll']) await shown.state(lane, 'live');
  await shown.until((lanes) => LANES.every((lane) => lanes[lane].resets === 1), 'a reset in every lane');
  await own.publish([{ topic: 'user:alice', type: 'notification', data: 'after' }]);
  const lanes = await shown.everyLaneHas(2);
  for (const lane of LANES) {
    assert.match(lanes[lane].resetText, /^epoch: /);
    assert.equal(lanes[lane].holes, 0);
  }
});
