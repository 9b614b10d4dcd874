// The page in real Chromium, and words for what is on it.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox', '--headless', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
export const LANES = ['ws', 'sse', 'poll', 'roaming'];
/** Generous, because a busy machine is no failure; a test that holds never waits this long. */
const PATIENCE_MS = 120_000;

export async function launch() {
  if (!existsSync(EXECUTABLE)) throw new Error(`no Chromium at ${EXECUTABLE}: \`apt-get install chromium\` or set CHROMIUM_BIN`);
  return chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS });
}

/** Opens the page as `user`, and waits until every lane is live. `prepare(page)` runs before it loads. */
export async function open(browser, origin, { user, prepare, ...context }) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 1000 }, ...context });
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await prepare?.(page);
  await page.goto(`${origin}/?user=${user}`);
  const shown = new Page(page, complaints);
  for (const lane of ['ws', 'sse', 'poll']) await shown.state(lane, 'live');
  await shown.until((lanes) => lanes.roaming.cursor !== 'none yet');
  return shown;
}

class Page {
  constructor(page, complaints) {
    this.page = page;
    this.complaints = complaints;
  }

  lane(name) {
    return this.page.locator(name === 'roaming' ? '#roaming' : `[data-lane="${name}"]`);
  }

  field(lane, name) {
    return this.lane(lane).locator(`[data-field="${name}"]`);
  }

  async state(lane, ...states) {
    await this.until((lanes) => states.includes(lanes[lane].state), `${lane} to be ${states.join(' or ')}`);
  }

  /** What each lane shows, at one moment. */
  read() {
    return this.page.evaluate((names) => Object.fromEntries(names.map((name) => {
      const root = document.querySelector(name === 'roaming' ? '#roaming' : `[data-lane="${name}"]`);
      const fields = {};
      for (const element of root.querySelectorAll('[data-field]')) {
        const text = element.textContent.trim();
        fields[element.dataset.field] = /^[\d,]+$/.test(text) ? Number(text.replaceAll(',', '')) : text;
      }
      fields.lag = fields.lag === 'none' ? 0 : Number(fields.lag.replace(/[^\d]/g, ''));
      return [name, fields];
    })), LANES);
  }

  /** Waits until `holds(lanes)`; says what the lanes showed when it never does. */
  async until(holds, what = holds) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const lanes = await this.read();
      if (holds(lanes)) return lanes;
      if (Date.now() > end) throw new Error(`waited in vain for ${what}\n${JSON.stringify(lanes, null, 1)}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** Every lane has been given `count` events, each once, and lags behind none. */
  everyLaneHas(count) {
    return this.until(
      (lanes) => LANES.every((lane) => lanes[lane].events === count && lanes[lane].lag === 0),
      `${count} events in every lane`,
    );
  }

  async hops() {
    return Number((await this.page.locator('#hops').textContent()).replaceAll(',', ''));
  }

  /** Saves what the page looks like, where PAGE_SCREENSHOTS names a folder. */
  async screenshot(name) {
    const folder = process.env.PAGE_SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  async close() {
    await this.page.unrouteAll({ behavior: 'ignoreErrors' });
    await this.page.close();
  }
}
