// The publishing side: one draft, a burst, or a job that reports its progress again and again.
// `gateway dev` accepts the publish key "dev".

const KEY = 'dev';
export const BURST = 100;
const JOB_STEP_MS = 180;
const JOB_STEP_PERCENT = 4;
const JOB_PAUSE_STEPS = 4;

/** Starting points for the data field, by event type. */
export const SAMPLES = {
  progress: { jobId: '7', progress: 45 },
  notification: { text: 'Your export is ready', level: 'info' },
  'queue:position': { jobId: '7', position: 3, of: 12 },
  custom: { hello: 'world' },
};

/** Publishes drafts in one request and answers their results; throws with the gateway's own words. */
export async function publish(drafts) {
  const response = await fetch('/v1/publish', {
    method: 'POST',
    headers: { Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(drafts.length === 1 ? drafts[0] : drafts),
  }).catch(() => {
    throw new Error('The gateway cannot be reached.');
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(`${response.status}: ${answer.detail || answer.title || response.statusText}`);
  const results = answer.results ?? [answer];
  const refused = results.find((result) => result.error);
  if (refused) throw new Error(`${refused.error.code}: ${refused.error.message}`);
  return results;
}

/** The same draft many times, numbered where its data is an object. */
export function burstOf(draft) {
  const numbered = draft.data !== null && typeof draft.data === 'object' && !Array.isArray(draft.data);
  return Array.from({ length: BURST }, (_, i) => (numbered ? { ...draft, data: { ...draft.data, burst: i + 1, of: BURST } } : draft));
}

/** Parses the data field; throws with a sentence that says what is wrong and where. */
export function parseData(text) {
  if (text.trim() === '') throw new Error('Data must be JSON, for example {} or "text".');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Data is not valid JSON: ${error.message}`);
  }
}

/** A job that goes from 0 to 100 % and starts over, until it is stopped. */
export class Job {
  /** `step(data)` publishes one progress event and may fail, which stops the job. */
  constructor(step) {
    this.step = step;
    this.timer = null;
    this.number = 0;
    this.percent = 0;
  }

  get running() {
    return this.timer !== null;
  }

  start() {
    if (this.running) return;
    this.number++;
    this.percent = 0;
    this.run();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  run() {
    this.timer = setTimeout(async () => {
      const timer = this.timer;
      const published = this.percent > 100 ? true : await this.step({ jobId: String(this.number), progress: this.percent });
      if (this.timer !== timer) return;
      if (!published) return this.stop();
      this.percent += JOB_STEP_PERCENT;
      if (this.percent > 100 + JOB_PAUSE_STEPS * JOB_STEP_PERCENT) {
        this.percent = 0;
        this.number++;
      }
      this.run();
    }, JOB_STEP_MS);
  }
}
