// The roaming client: a lane that changes its transport at random, every few hundred milliseconds,
// and keeps one cursor. Its trail records what each stay delivered.

import { STATES } from './lane.js';
import { TRANSPORTS } from './link.js';

const STAY_MIN_MS = 250;
const STAY_MAX_MS = 900;
const TRAIL_MAX = 40;

export class Roamer {
  constructor(lane) {
    this.lane = lane;
    this.hopping = true;
    this.timer = null;
    this.restart();
  }

  /** Forgets the trail; the lane itself was started anew. */
  restart() {
    this.hops = 0;
    /** Newest first. */
    this.trail = [{ number: 0, transport: this.lane.transport, events: 0 }];
  }

  setHopping(hopping) {
    this.hopping = hopping;
    clearTimeout(this.timer);
    this.timer = null;
    this.laneChanged();
  }

  delivered() {
    this.trail[0].events++;
  }

  /** A stay begins once the connection has said something, so that a slow path still gets there. */
  laneChanged() {
    const { state, resume } = this.lane;
    const settled = (state === STATES.live || state === STATES.catchingUp) && resume.batches > 0;
    if (!this.hopping || !settled || this.timer !== null) return;
    this.timer = setTimeout(() => this.hop(), STAY_MIN_MS + Math.random() * (STAY_MAX_MS - STAY_MIN_MS));
  }

  hop() {
    this.timer = null;
    const { state, transport } = this.lane;
    if (state === STATES.cut || state === STATES.blocked || state === STATES.stopped) return;
    const others = TRANSPORTS.filter((other) => other !== transport);
    this.goTo(others[Math.floor(Math.random() * others.length)]);
  }

  goTo(transport) {
    this.hops++;
    this.trail.unshift({ number: this.hops, transport, events: 0 });
    this.trail.length = Math.min(this.trail.length, TRAIL_MAX);
    this.lane.moveTo(transport);
  }
}
