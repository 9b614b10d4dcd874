// One editor: CodeMirror's state and its client of an authority. The authority is the log: its order, and `expect`.

import { collab, getSyncedVersion, receiveUpdates, sendableUpdates } from '@codemirror/collab';
import { ChangeSet, EditorState } from '@codemirror/state';
import { setTimeout as sleep } from 'node:timers/promises';

/** Updates as they stand in an event. */
export const decode = (updates) =>
  updates.map(({ clientID, changes }) => ({ clientID, changes: ChangeSet.fromJSON(changes) }));

const LETTERS = 'abcdefghijklmnopqrstuvwxyz \n';

export class Editor {
  constructor(Transport, origin, name, topic) {
    this.topic = topic;
    this.state = EditorState.create({ doc: '', extensions: [collab({ clientID: name, startVersion: 0 })] });
    this.seq = 0;
    this.conflicts = 0;
    this.line = new Transport(origin, name, topic, (batch) => batch.events.forEach((event) => this.receive(event)));
  }

  get text() {
    return this.state.doc.toString();
  }

  get isSynced() {
    return sendableUpdates(this.state).length === 0;
  }

  receive(event) {
    if (event.topic !== this.topic || event.type !== 'edit') return;
    this.seq = event.seq;
    this.state = receiveUpdates(this.state, decode(event.data.updates)).state;
  }

  /** Types a letter, a word, or deletes something, anywhere. */
  type() {
    const at = Math.floor(Math.random() * (this.state.doc.length + 1));
    const erases = Math.random() < 0.3;
    const to = erases ? Math.min(at + 1 + Math.floor(Math.random() * 4), this.state.doc.length) : at;
    const length = erases ? 0 : 1 + Math.floor(Math.random() * 3);
    const insert = Array.from({ length }, () => LETTERS[Math.floor(Math.random() * LETTERS.length)]).join('');
    this.state = this.state.update({ changes: { from: at, to, insert } }).state;
  }

  /** Sends what was typed, if nobody was faster. Who was is merged by the library once it arrives. */
  async push() {
    const updates = sendableUpdates(this.state);
    if (updates.length === 0) return;
    const data = { updates: updates.map(({ clientID, changes }) => ({ clientID, changes: changes.toJSON() })) };
    const version = getSyncedVersion(this.state);
    const answer = await this.line.publish({ topic: this.topic, type: 'edit', data, expect: this.seq });
    const code = answer.error?.code;
    if (code === 'conflict') this.conflicts += 1;
    else if (code !== undefined && code !== 'cut') throw new Error(JSON.stringify(answer));
    // What was taken comes back by the log, like everybody's.
    for (let waited = 0; waited < 100 && getSyncedVersion(this.state) === version; waited += 5) await sleep(5);
  }

  async work(edits) {
    for (let n = 0; n < edits; n += 1) {
      this.type();
      if (Math.random() < 0.5) await this.push();
      if (Math.random() < 0.08) this.line.cut();
      await sleep(Math.random() * 10);
    }
    while (!this.isSynced) await this.push();
  }
}
