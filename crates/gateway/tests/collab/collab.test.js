// Three people type into one text, each over another transport, over lines that are cut: all end with the text of the log.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Text } from '@codemirror/state';
import { Gateway } from '../browser/gateway.js';
import { Editor, decode } from './editor.js';
import { PollLine, SseLine, WsLine } from './lines.js';

const EDITS = 120;
let gateway;

before(async () => {
  const options = ['--commands-per-minute', '0', '--publishes-per-minute', '0', '--ring-events', '10000'];
  gateway = await Gateway.start('127.0.0.1:0', options);
});
after(() => gateway?.stop());

/** The text that the log alone gives. */
async function replayed(topic) {
  let text = Text.empty;
  let cursor = 'earliest';
  let seq = 0;
  let more = true;
  while (more) {
    const url = `${gateway.origin}/v1/history?topic=${topic}&after=${cursor}`;
    const batch = await (await fetch(url, { headers: { Authorization: 'Bearer dev' } })).json();
    assert.equal(batch.reset, undefined);
    for (const event of batch.events) {
      for (const { changes } of decode(event.data.updates)) text = changes.apply(text);
      seq = event.seq;
    }
    ({ cursor, more = false } = batch);
  }
  return { text: text.toString(), seq };
}

test('three editors over three transports end with the text of the log', { timeout: 600_000 }, async () => {
  const topic = 'doc:1';
  const editors = [
    new Editor(WsLine, gateway.origin, 'alice', topic),
    new Editor(SseLine, gateway.origin, 'bob', topic),
    new Editor(PollLine, gateway.origin, 'carol', topic),
  ];
  await Promise.all(editors.map((editor) => editor.work(EDITS)));
  const log = await replayed(topic);
  while (editors.some((editor) => editor.seq < log.seq)) await sleep(10);

  for (const editor of editors) assert.equal(editor.text, log.text);
  assert.ok(log.text.length > EDITS / 2, 'a text came of it');
  assert.ok(editors.every((editor) => editor.line.cuts > 0), 'every line was cut');
  assert.ok(editors.reduce((sum, editor) => sum + editor.conflicts, 0) > 0, 'they did get in one another\'s way');

  // Who comes later gets the same text from the log.
  const late = new Editor(SseLine, gateway.origin, 'dave', topic);
  while (late.seq < log.seq) await sleep(10);
  assert.equal(late.text, log.text);
  await Promise.all([...editors, late].map((editor) => editor.line.close()));
});
