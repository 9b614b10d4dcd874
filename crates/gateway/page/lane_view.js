// Shows one lane. The markup names its parts with data-field; a part that a lane's markup leaves
// out is simply not shown. Event data only ever becomes text, never markup.

import { STATES } from './lane.js';

const NOTES_SHOWN = 5;
const DATA_CHARS_MAX = 160;
const VERDICTS = { waiting: 'Waiting for the first event', yes: 'Exactly once, in order', no: 'Not exactly once' };
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const numbers = new Intl.NumberFormat('en');

export class LaneView {
  /** `sweeping()` is how many received events the strip has still to draw. */
  constructor(root, lane, { sweeping, onCut, onBlock }) {
    this.sweeping = sweeping;
    this.root = root;
    this.lane = lane;
    this.fields = {};
    for (const element of root.querySelectorAll('[data-field]')) this.fields[element.dataset.field] = element;
    this.beats = 0;
    this.notesKey = '';
    const { cut, block } = this.fields;
    for (const button of [cut, block]) button.setAttribute('aria-label', `${button.textContent} ${lane.id}`);
    cut.addEventListener('click', onCut);
    block.addEventListener('click', onBlock);
  }

  render() {
    const { lane, fields } = this;
    const { counts } = lane;
    const sweeping = this.sweeping();
    const state = lane.state === STATES.live && sweeping > 0 ? STATES.catchingUp : lane.state;
    this.root.dataset.state = state.replace(' ', '-');
    this.root.dataset.transport = lane.transport;
    setText(fields.state, state);
    setText(fields.cursor, lane.cursor ?? 'none yet');
    const lag = lane.lag + sweeping;
    setText(fields.lag, lag === 0 ? 'none' : `${numbers.format(lag)} behind`);
    this.root.dataset.lagging = String(lag > 0);
    for (const name of ['batches', 'events', 'resets', 'resumes', 'duplicates', 'holes']) {
      setText(fields[name], numbers.format(counts[name]));
      if (fields[name]) fields[name].dataset.nonzero = String(counts[name] > 0);
    }
    this.renderVerdict();
    this.renderEvent();
    this.renderReset();
    this.renderProgress();
    this.renderNotes();
    this.renderButtons();
    this.renderHeartbeat();
  }

  renderVerdict() {
    const { lane, fields } = this;
    if (!fields.verdict) return;
    const verdict = !lane.intact ? 'no' : lane.counts.events === 0 ? 'waiting' : 'yes';
    fields.verdict.dataset.verdict = verdict;
    setText(fields.verdictText, VERDICTS[verdict]);
  }

  renderEvent() {
    const { lane, fields } = this;
    if (!fields.event) return;
    if (lane.lastEvent === null) {
      setText(fields.event, 'nothing yet');
      setText(fields.eventMeta, '');
      return;
    }
    const { event, receivedAt, replayed } = lane.lastEvent;
    const data = JSON.stringify(event.data) ?? '';
    setText(fields.event, `${event.type} ${data.length > DATA_CHARS_MAX ? `${data.slice(0, DATA_CHARS_MAX)}…` : data}`);
    const delay = receivedAt - Date.parse(event.time);
    const timing = replayed ? 'replayed' : Number.isFinite(delay) && delay >= 0 ? `${numbers.format(delay)} ms after publish` : '';
    setText(fields.eventMeta, [event.seq === undefined ? 'ephemeral' : `#${event.seq}`, event.topic, timing].filter(Boolean).join(' · '));
  }

  renderReset() {
    const { lastReset } = this.lane;
    const { reset, resetText } = this.fields;
    if (!reset) return;
    reset.hidden = lastReset === null;
    if (lastReset === null) return;
    const wait = lastReset.refetch_after_ms ?? 0;
    setText(resetText, `${lastReset.reason}: ${lastReset.topics.join(', ')}. `
      + `Events of these topics may be missing; the application would refetch here, ${numbers.format(wait)} ms later.`);
  }

  renderProgress() {
    const { progress } = this.lane;
    const { bar, barText } = this.fields;
    if (!bar) return;
    const percent = progress === null ? 0 : progress.percent;
    if (bar.value !== percent) bar.value = percent;
    setText(barText, progress === null ? 'no job yet' : `${progress.job === '' ? 'job' : `job ${progress.job}`} · ${Math.round(percent)} %`);
  }

  renderNotes() {
    const { notes } = this.fields;
    if (!notes) return;
    const shown = this.lane.notes.slice(0, NOTES_SHOWN);
    const key = shown.map((note) => `${note.at.getTime()}${note.text}`).join('\n');
    if (key === this.notesKey) return;
    this.notesKey = key;
    notes.replaceChildren(...shown.map((note) => {
      const item = document.createElement('li');
      item.dataset.kind = note.kind;
      const time = document.createElement('time');
      time.textContent = note.at.toTimeString().slice(0, 8);
      item.append(time, ` ${note.text}`);
      return item;
    }));
  }

  renderButtons() {
    const { id, state } = this.lane;
    const { cut, block } = this.fields;
    const blocked = state === STATES.blocked;
    cut.disabled = blocked;
    block.dataset.on = String(blocked);
    for (const [button, text] of [[cut, state === STATES.stopped ? 'Reconnect' : 'Cut'], [block, blocked ? 'Release' : 'Block']]) {
      if (button.textContent === text) continue;
      button.textContent = text;
      button.setAttribute('aria-label', `${text} ${id}`);
    }
  }

  renderHeartbeat() {
    const { lane, fields } = this;
    if (!fields.heartbeat) return;
    const seconds = lane.lastHeardAt === null ? null : Math.floor((performance.now() - lane.lastHeardAt) / 1000);
    setText(fields.heartbeat, seconds === null ? 'not yet' : seconds < 1 ? 'just now' : `${seconds} s ago`);
    if (lane.counts.heartbeats > this.beats && !calm.matches) {
      fields.pulse.animate([{ transform: 'scale(1)', opacity: 1 }, { transform: 'scale(1.9)', opacity: 0.35 }, { transform: 'scale(1)', opacity: 1 }], 600);
    }
    this.beats = lane.counts.heartbeats;
  }
}

/** The roaming lane's own parts: hops and their trail. */
export class TrailView {
  constructor(list, count, roamer) {
    this.list = list;
    this.count = count;
    this.roamer = roamer;
  }

  render() {
    const { trail, hops } = this.roamer;
    setText(this.count, numbers.format(hops));
    const shown = new Map([...this.list.children].map((item) => [Number(item.dataset.number), item]));
    // Items stay where they are: one that is inserted again would arrive again.
    for (const stay of trail.toReversed()) {
      if (!shown.has(stay.number)) this.list.prepend(segment(stay));
    }
    const kept = new Map(trail.map((stay) => [stay.number, stay]));
    for (const item of [...this.list.children]) {
      const stay = kept.get(Number(item.dataset.number));
      if (stay === undefined) item.remove();
      else fill(item, stay);
    }
  }

  /** Forgets what is shown: the trail began anew and numbers its stays from zero again. */
  clear() {
    this.list.replaceChildren();
  }
}

const LABELS = { ws: 'WS', sse: 'SSE', poll: 'Poll' };

function segment({ number, transport }) {
  const item = document.createElement('li');
  item.dataset.number = String(number);
  item.dataset.transport = transport;
  const label = document.createElement('span');
  label.textContent = LABELS[transport];
  const events = document.createElement('span');
  item.append(label, events);
  return item;
}

function fill(item, { events }) {
  setText(item.lastElementChild, String(events));
  item.dataset.size = events === 0 ? '0' : events < 4 ? '1' : events < 20 ? '2' : '3';
}

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}
