// One client of the gateway: a cursor, the transport it uses now, and the proof that what it was
// given is its view of the log, once and in order. It follows three rules and needs no more:
// start each connection with the cursor, check that each batch begins where the last one ended,
// and start again from the cursor when anything else happens.

import { openLink } from './link.js';

const HEARTBEAT_SECONDS = 5;
/** A stream that has been silent for this many heartbeats is dead, whatever the socket says. */
const SILENT_HEARTBEATS = 2.5;
const POLL_SILENCE_MS = 40_000;
const BACKOFF_MIN_MS = 250;
const BACKOFF_MAX_MS = 10_000;
/** How long a cut lane stays down before it reconnects by itself: long enough to be seen. */
const CUT_MS = 900;
const NOTES_MAX = 30;
const FATAL_BYES = new Set(['disconnected', 'replaced', 'expired_token']);

/** States that a lane can be in; `stopped` waits for the user. */
export const STATES = {
  connecting: 'connecting',
  catchingUp: 'catching up',
  live: 'live',
  cut: 'cut',
  blocked: 'blocked',
  stopped: 'stopped',
};

export function seqOf(cursor) {
  return cursor === null ? 0 : Number(cursor.slice(cursor.lastIndexOf('.') + 1)) || 0;
}

export class Lane {
  /** `listener` has changed(lane), delivered(lane, event), reset(lane, reset, batch), announce(text). */
  constructor(id, transport, ledger, listener) {
    this.id = id;
    this.transport = transport;
    this.ledger = ledger;
    this.listener = listener;
    this.link = null;
    this.timers = {};
    this.start({ user: '', topics: [] }, null, { connect: false });
  }

  /** Begins anew as `settings.user` at `cursor`, continuing `session` where there is one. */
  start(settings, cursor, { session = null, connect = true } = {}) {
    this.drop();
    this.settings = settings;
    this.cursor = cursor;
    this.lastSeq = seqOf(cursor);
    /** Events at or below this seq are covered by a reset, or older than this lane. */
    this.vouchedAfter = this.lastSeq;
    /** Up to here every acknowledged event has been looked for. */
    this.checkedUpTo = this.lastSeq;
    this.session = session;
    this.heartbeatMs = HEARTBEAT_SECONDS * 1000;
    this.attempt = 0;
    this.counts = { batches: 0, events: 0, heartbeats: 0, resets: 0, resumes: 0, duplicates: 0, holes: 0 };
    this.lastEvent = null;
    this.lastReset = null;
    this.lastHeardAt = null;
    this.progress = null;
    this.resume = null;
    this.wasLive = false;
    this.moving = false;
    this.notes = [];
    this.enter(STATES.connecting);
    if (!connect) return;
    this.note('plain', `Started at ${cursor}`);
    this.connect();
  }

  /** Drops the connection now. It comes back by itself. */
  cut() {
    this.drop();
    this.note('cut', `Cut at ${this.cursor}`);
    this.enter(STATES.cut);
    this.timers.reconnect = setTimeout(() => this.connect(), CUT_MS);
  }

  /** Drops the connection and keeps it off until `release`. */
  block() {
    this.drop();
    this.note('cut', `Blocked at ${this.cursor}`);
    this.enter(STATES.blocked);
  }

  release() {
    this.attempt = 0;
    this.connect();
  }

  /** Goes on over another transport, from the same cursor. */
  moveTo(transport) {
    this.drop();
    this.transport = transport;
    this.moving = true;
    this.connect();
  }

  get lag() {
    return this.ledger.eventsBeyond(seqOf(this.cursor));
  }

  /** True while nothing came twice, was left out or came out of order. */
  get intact() {
    return this.counts.holes === 0 && this.counts.duplicates === 0;
  }

  connect() {
    this.drop();
    this.enter(STATES.connecting);
    this.resume = { from: this.cursor, startedAt: performance.now(), events: 0, batches: 0 };
    this.link = openLink(this.transport, { query: (extra) => this.query(extra) }, {
      message: (message) => this.receive(message),
      ended: (end) => this.lost(end),
    });
    this.watch();
  }

  query(extra = {}) {
    const query = new URLSearchParams({ user: this.settings.user });
    if (this.cursor !== null) query.set('after', this.cursor);
    if (this.settings.topics.length > 0) query.set('topics', this.settings.topics.join(','));
    if (this.transport !== 'poll') query.set('heartbeat', HEARTBEAT_SECONDS);
    if (this.session !== null) query.set('session', this.session);
    for (const [name, value] of Object.entries(extra)) query.set(name, value);
    return query;
  }

  drop() {
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.timers = {};
    this.link?.close();
    this.link = null;
  }

  /** The link ended without being asked to. */
  lost({ reason, fatal = false, retryAfterMs }) {
    this.drop();
    this.note('cut', `Connection over: ${reason}`);
    if (fatal) {
      this.enter(STATES.stopped);
      this.listener.announce(`${this.id} stopped: ${reason}`);
      return;
    }
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.attempt++);
    const delay = (retryAfterMs ?? ceiling / 2) + Math.random() * (ceiling / 2);
    this.enter(STATES.cut);
    this.timers.reconnect = setTimeout(() => this.connect(), delay);
  }

  watch() {
    clearTimeout(this.timers.silence);
    const silenceMs = this.transport === 'poll' ? POLL_SILENCE_MS : this.heartbeatMs * SILENT_HEARTBEATS;
    this.timers.silence = setTimeout(() => this.lost({ reason: 'silent for too long' }), silenceMs);
  }

  receive(message) {
    this.watch();
    this.lastHeardAt = performance.now();
    if ('reply' in message) {
      this.note('plain', `Reply ${message.reply}: ${message.error ? message.error.code : 'ok'}`);
      return;
    }
    this.receiveBatch(message);
    this.listener.changed(this);
  }

  receiveBatch(batch) {
    this.counts.batches++;
    if (batch.hello) {
      this.session = batch.hello.session;
      this.heartbeatMs = batch.hello.heartbeat_ms || this.heartbeatMs;
    }
    const movedByReset = batch.reset && batch.reset.reason !== 'expired';
    if (this.cursor !== null && batch.after !== this.cursor && !movedByReset) {
      this.broken(`a batch began after ${batch.after}, the cursor is ${this.cursor}`);
      this.lost({ reason: 'batch out of line' });
      return;
    }
    if (batch.reset) this.receiveReset(batch);
    for (const event of batch.events) this.deliver(event, batch);
    this.cursor = batch.cursor;
    this.attempt = 0;
    if (batch.events.length === 0) this.counts.heartbeats++;
    this.checkAcknowledged();
    this.settle(batch);
    if (batch.expiring) this.note('plain', `Token ends at ${batch.expiring.expires_at}`);
    if (batch.bye) this.receiveBye(batch.bye);
  }

  deliver(event, batch) {
    if (event.seq !== undefined) {
      if (event.seq <= this.lastSeq) {
        this.counts.duplicates++;
        return;
      }
      if (event.seq > seqOf(batch.cursor)) this.broken(`event ${event.seq} lies beyond ${batch.cursor}`);
      this.lastSeq = event.seq;
    }
    this.counts.events++;
    this.resume.events++;
    this.lastEvent = { event, receivedAt: Date.now(), replayed: this.state !== STATES.live };
    if (event.type === 'progress' && Number.isFinite(event.data?.progress)) {
      this.progress = { job: String(event.data.jobId ?? ''), percent: Math.max(0, Math.min(100, event.data.progress)) };
    }
    this.listener.delivered(this, event);
  }

  receiveReset(batch) {
    this.counts.resets++;
    this.lastReset = batch.reset;
    this.note('reset', `Reset (${batch.reset.reason}) for ${batch.reset.topics.join(', ')}`);
    this.listener.reset(this, batch);
    if (batch.reset.reason !== 'expired') this.lastSeq = seqOf(batch.after);
    this.vouchedAfter = Math.max(seqOf(batch.after), this.ledger.newestSeq);
    this.checkedUpTo = this.vouchedAfter;
    this.listener.announce(`${this.id} was reset: ${batch.reset.reason}`);
  }

  receiveBye({ reason, reconnect_after_ms: retryAfterMs }) {
    this.lost({ reason: `the gateway said bye (${reason})`, fatal: FATAL_BYES.has(reason), retryAfterMs });
  }

  /** Decides whether the lane has caught up with the tail. */
  settle(batch) {
    this.resume.batches++;
    const resumed = this.resume.from !== null;
    const caughtUp = this.transport === 'poll' ? !batch.more : batch.live || !resumed;
    if (this.state === STATES.live || this.state === STATES.blocked) return;
    if (!caughtUp) {
      this.enter(STATES.catchingUp);
      return;
    }
    const reportable = this.wasLive && !this.moving;
    this.wasLive = true;
    this.moving = false;
    this.enter(STATES.live);
    if (!reportable) return;
    this.counts.resumes++;
    const { from, events, startedAt } = this.resume;
    const text = `Resumed after ${from}: ${events} replayed in ${Math.round(performance.now() - startedAt)} ms`;
    this.note('resume', text);
    if (events > 0) this.listener.announce(`${this.id}: ${events} missed events replayed`);
  }

  checkAcknowledged() {
    const upTo = seqOf(this.cursor);
    const missing = this.ledger.missing(this.id, this.checkedUpTo, upTo);
    if (missing > 0) this.broken(`${missing} acknowledged events never came`, missing);
    this.checkedUpTo = Math.max(this.checkedUpTo, upTo);
  }

  /** The gateway acknowledged `seq` to this page; it must not be behind the cursor and undelivered. */
  acknowledged(seq) {
    if (seq <= this.vouchedAfter || seq > seqOf(this.cursor)) return;
    if (this.ledger.missing(this.id, seq - 1, seq) > 0) this.broken(`acknowledged event ${seq} never came`);
  }

  broken(text, holes = 1) {
    this.counts.holes += holes;
    this.note('broken', `Hole: ${text}`);
    this.listener.announce(`${this.id} has a hole: ${text}`);
  }

  enter(state) {
    this.state = state;
    this.listener.changed(this);
  }

  note(kind, text) {
    this.notes.unshift({ kind, text, at: new Date() });
    this.notes.length = Math.min(this.notes.length, NOTES_MAX);
    this.listener.changed(this);
  }
}
