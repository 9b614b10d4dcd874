// For everyone: keyboard, assistive technology, small screens, both colour schemes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { launch, open } from './browser.js';
import { Gateway } from './gateway.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let gateway;
let browser;

before(async () => {
  [gateway, browser] = await Promise.all([Gateway.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** Brings every state and message onto the page. */
async function populate(shown) {
  const { page } = shown;
  await page.getByRole('button', { name: 'Run a job' }).click();
  await page.getByRole('button', { name: 'Block SSE' }).click();
  for (let i = 0; i < 3; i++) {
    await page.getByRole('button', { name: 'Burst of 100' }).click();
    await page.waitForTimeout(200);
  }
  await page.getByRole('button', { name: 'Block Long-poll' }).click();
  await page.getByRole('button', { name: 'Release SSE' }).click();
  await page.getByLabel('Data, JSON').fill('{');
  await shown.state('sse', 'live');
}

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of [['wide', { width: 1440, height: 1000 }], ['narrow', { width: 360, height: 780 }]]) {
    test(`no violation that axe can find: ${colorScheme}, ${size}`, async (t) => {
      const shown = await open(browser, gateway.origin, { user: `${colorScheme}-${size}`, colorScheme, viewport, reducedMotion: 'reduce' });
      t.after(() => shown.close());
      await populate(shown);
      await shown.page.getByRole('button', { name: 'Pause hopping' }).click();
      await shown.page.getByRole('button', { name: 'Stop the job' }).click();
      await shown.screenshot(`${colorScheme}-${size}`);
      // An isolated world: the page's security policy holds for script in the page.
      const session = await shown.page.context().newCDPSession(shown.page);
      const { frameTree } = await session.send('Page.getFrameTree');
      const { executionContextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id });
      const evaluate = (expression) => session.send('Runtime.evaluate', { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
      await evaluate(axe);
      const { result } = await evaluate(`axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
        .then(({ violations, passes }) => ({ passes: passes.length, violations: violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html + ' ' + node.failureSummary)].join('\\n')) }))`);
      assert.ok(result.value.passes > 20, 'axe looked');
      assert.deepEqual(result.value.violations, []);
    });
  }
}

for (const width of [360, 560, 721, 900, 1080, 1920]) {
  test(`nothing sticks out at ${width} px`, async (t) => {
    const shown = await open(browser, gateway.origin, { user: `w-${width}`, viewport: { width, height: 900 } });
    t.after(() => shown.close());
    const [content, viewport] = await shown.page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(content <= viewport, `${content} px of content in ${viewport} px`);
    const clipped = await shown.page.evaluate(() => [...document.querySelectorAll('button, h1, h2, h3, dt, dd, .state')]
      .filter((element) => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && getComputedStyle(element).display !== 'inline')
      .map((element) => element.outerHTML));
    assert.deepEqual(clipped, []);
  });
}

test('everything can be done with the keyboard alone', async (t) => {
  const shown = await open(browser, gateway.origin, { user: 'keys' });
  t.after(() => shown.close());
  const { page } = shown;
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim());
  const reached = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab');
    const name = await focused();
    reached.add(name);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, 'none', `the focus on “${name}” is visible`);
    if (name === 'Block Long-poll') break;
  }
  for (const name of ['Skip to publishing and lanes', 'Subscribe', 'Run a job', 'Pause hopping', 'Block Roaming', 'Publish', 'Burst of 100', 'Auto', 'Cut WebSocket', 'Block SSE']) {
    assert.ok(reached.has(name), `${name} was reached, of ${[...reached].join(', ')}`);
  }
  await page.keyboard.press('Enter');
  await shown.state('poll', 'blocked');
  assert.equal(await focused(), 'Release Long-poll', 'the focus stays where it was');
  assert.equal(await page.locator('#announcer').textContent(), 'Long-poll blocked');
  await page.keyboard.press('Space');
  await shown.state('poll', 'live');
});

test('who asked for less motion gets none', async (t) => {
  const shown = await open(browser, gateway.origin, { user: 'calm', reducedMotion: 'reduce' });
  t.after(() => shown.close());
  await shown.page.getByRole('button', { name: 'Burst of 100' }).click();
  await shown.everyLaneHas(100);
  assert.equal(await shown.page.evaluate(() => document.getAnimations().filter((animation) => animation.playState === 'running').length), 0);
});
