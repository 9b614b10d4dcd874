// The page of `gateway dev`: four clients of one user, a publisher, and what they show.
//
// Layout: link.js is one connection, lane.js a client with a cursor, roam.js the client that hops,
// ledger.js what this page knows about the log, publish.js the other side. timeline.js and
// lane_view.js draw. This file puts them together.

import { commandLines } from './commands.js';
import { Lane, STATES } from './lane.js';
import { LaneView, TrailView } from './lane_view.js';
import { Ledger } from './ledger.js';
import { BURST, burstOf, Job, parseData, publish, SAMPLES } from './publish.js';
import { Roamer } from './roam.js';
import { Timeline } from './timeline.js';

const NAME = /^[A-Za-z0-9_.:@/-]+$/;
const USER_CHARS_MAX = 100;
const TOPIC_CHARS_MAX = 128;
const TOPICS_MAX = 62;
const RETRY_START_MS = 1500;
const SLOW_RENDER_MS = 1000;

const byId = (id) => document.getElementById(id);
const ledger = new Ledger();
const settings = { user: 'alice', topics: [] };
const lanes = [];
const views = [];
const renderers = [];
let renderPending = false;
let startTimer = null;
let startNumber = 0;

// Lanes

const listener = {
  changed(lane) {
    if (lane === roamer?.lane) roamer.laneChanged();
    render();
  },
  delivered(lane, event) {
    if (lane === roamer.lane) roamer.delivered();
    if (event.seq === undefined) return;
    ledger.deliver(event.seq, lane.id, lane.transport, timeline.showAt(lane.id, lane.state !== STATES.live));
    timeline.invalidate();
  },
  reset(lane, batch) {
    const epoch = batch.cursor.slice(0, batch.cursor.lastIndexOf('.'));
    if (batch.reset.reason === 'expired' || (batch.reset.reason === 'epoch' && epoch === ledger.epoch)) return;
    ledger.clear();
    ledger.epoch = epoch;
    timeline.invalidate();
  },
  announce,
};

let roamer = null;
const timeline = new Timeline(byId('timeline'), byId('timeline-range'), ['Roaming', 'WebSocket', 'SSE', 'Long-poll'], ledger, render);
roamer = new Roamer(addLane('Roaming', 'ws', byId('roaming')));
for (const [id, transport] of [['WebSocket', 'ws'], ['SSE', 'sse'], ['Long-poll', 'poll']]) {
  addLane(id, transport, laneMarkup(id, transport));
}
const trail = new TrailView(byId('trail'), byId('hops'), roamer);
renderers.push(() => trail.render(), renderLags, renderCommands);

function addLane(id, transport, root) {
  const lane = new Lane(id, transport, ledger, listener);
  const view = new LaneView(root, lane, {
    sweeping: () => (id === 'Roaming' ? 0 : timeline.sweeping(id)),
    onCut: () => {
      if (lane.state === STATES.stopped) return lane.release();
      lane.cut();
      announce(`${id} cut`);
    },
    onBlock: () => {
      if (lane.state === STATES.blocked) return lane.release();
      lane.block();
      announce(`${id} blocked`);
    },
  });
  lanes.push(lane);
  views.push(view);
  return lane;
}

function laneMarkup(id, transport) {
  const root = byId('lane-template').content.firstElementChild.cloneNode(true);
  const heading = root.querySelector('h3');
  heading.textContent = id;
  heading.id = `lane-${transport}`;
  root.setAttribute('aria-labelledby', heading.id);
  root.dataset.lane = transport;
  root.querySelector('progress').setAttribute('aria-label', `Progress of the job, as seen over ${id}`);
  byId('lanes').append(root);
  return root;
}

/** Starts every lane at the same point of the log, so that their counts can be compared. */
async function start() {
  clearTimeout(startTimer);
  const number = ++startNumber;
  for (const lane of lanes) lane.start(settings, null, { connect: false });
  roamer.restart();
  trail.clear();
  ledger.clear();
  timeline.invalidate();
  const query = new URLSearchParams({ user: settings.user });
  if (settings.topics.length > 0) query.set('topics', settings.topics.join(','));
  try {
    const response = await fetch(`/v1/poll?${query}`, { cache: 'no-store' });
    const answer = await response.json();
    if (number !== startNumber) return;
    if (!response.ok) throw new Error(`${response.status}: ${answer.detail || answer.title}`);
    ledger.epoch = answer.cursor.slice(0, answer.cursor.lastIndexOf('.'));
    for (const lane of lanes) {
      // That answer was the first of a poller, and the long-poll lane is the one who goes on.
      const session = lane.id === 'Long-poll' ? answer.hello?.session : undefined;
      lane.start(settings, answer.cursor, { session });
    }
    showTrouble('');
  } catch (error) {
    if (number !== startNumber) return;
    showTrouble(`The gateway did not answer (${error.message}). Trying again.`);
    startTimer = setTimeout(start, RETRY_START_MS);
  }
}

// Drawing: at most once a frame, and once a second for what ages by itself

function render() {
  if (renderPending) return;
  renderPending = true;
  requestAnimationFrame(() => {
    renderPending = false;
    for (const view of views) view.render();
    for (const draw of renderers) draw();
  });
}

function renderLags() {
  for (const lane of lanes) {
    const output = byId(`lag-${lane.id}`);
    const lag = lane.lag + (lane === roamer.lane ? 0 : timeline.sweeping(lane.id));
    const text = lag === 0 ? 'current' : `${lag} behind`;
    if (output.textContent !== text) output.textContent = text;
    output.dataset.lagging = String(lag > 0);
  }
}

function renderCommands() {
  const lines = commandLines(location.origin, settings, lanes.at(-1).cursor);
  for (const [name, line] of Object.entries(lines)) {
    const output = byId(`command-${name}`);
    // Text that is being selected must not change under the pointer.
    if (output.textContent !== line && !getSelection().containsNode(output, true)) output.textContent = line;
  }
}

function announce(text) {
  byId('announcer').textContent = text;
}

function showTrouble(text) {
  byId('trouble').textContent = text;
  byId('trouble').hidden = text === '';
}

// Who subscribes

byId('subscriber').addEventListener('submit', (event) => {
  event.preventDefault();
  const user = byId('user').value.trim();
  const topics = byId('topics').value.split(',').map((topic) => topic.trim()).filter(Boolean);
  const problem = subscriberProblem(user, topics);
  showError('subscriber-error', [byId('user'), byId('topics')], problem);
  if (problem) return;
  subscribe(user, topics);
});

function subscriberProblem(user, topics) {
  if (user === '') return 'A user name is needed.';
  if (!NAME.test(user)) return 'A user name may contain letters, digits and _ . : @ / -';
  if (user.length > USER_CHARS_MAX) return `A user name may be ${USER_CHARS_MAX} characters long.`;
  const bad = topics.find((topic) => !NAME.test(topic) || topic.length > TOPIC_CHARS_MAX);
  if (bad) return `“${bad}” is not a topic: letters, digits and _ . : @ / - only, at most ${TOPIC_CHARS_MAX}.`;
  return topics.length > TOPICS_MAX ? `At most ${TOPICS_MAX} topics.` : '';
}

function subscribe(user, topics) {
  settings.user = user;
  settings.topics = topics;
  byId('user').value = user;
  byId('topics').value = topics.join(', ');
  byId('topic-user').textContent = `user:${user}`;
  const query = new URLSearchParams({ user });
  if (topics.length > 0) query.set('topics', topics.join(','));
  history.replaceState(null, '', `?${query}`);
  start();
  render();
}

// Publishing

const job = new Job((data) => send([{ topic: chosenTopic(), type: 'progress', data }], { quiet: true }));

function chosenType() {
  return byId('type').value === 'custom' ? byId('custom-type').value.trim() : byId('type').value;
}

function chosenTopic() {
  return { user: `user:${settings.user}`, all: 'all', custom: byId('custom-topic').value.trim() }[byId('topic').value];
}

function reaches(topic) {
  return topic === 'all' || topic === `user:${settings.user}` || settings.topics.includes(topic);
}

async function send(drafts, { quiet = false } = {}) {
  try {
    const results = await publish(drafts);
    for (const { seq } of results) {
      if (seq === undefined || !reaches(drafts[0].topic)) continue;
      ledger.expect(seq);
      for (const lane of lanes) lane.acknowledged(seq);
    }
    timeline.invalidate();
    render();
    showError('publish-error', [], '');
    const seqs = results.length === 1 ? `seq ${results[0].seq}` : `seq ${results[0].seq} to ${results.at(-1).seq}`;
    const nobody = reaches(drafts[0].topic) ? '' : ` No lane subscribes to ${drafts[0].topic}.`;
    if (!quiet) byId('published').textContent = `Published ${results.length === 1 ? 'one event' : `${results.length} events`}, ${seqs}.${nobody}`;
    return true;
  } catch (error) {
    showError('publish-error', [], error.message);
    byId('published').textContent = '';
    setAuto(false);
    return false;
  }
}

/** The draft in the form, or null after the error was shown. */
function draftInForm() {
  const topic = chosenTopic();
  const type = chosenType();
  const topicProblem = NAME.test(topic) ? '' : 'A topic may contain letters, digits and _ . : @ / -';
  const typeProblem = type === '' ? 'A type is needed.' : '';
  showError('publish-error', [byId('custom-topic')], topicProblem || typeProblem);
  const data = dataInForm();
  return topicProblem || typeProblem || data === undefined ? null : { topic, type, data };
}

function dataInForm() {
  try {
    const data = parseData(byId('data').value);
    showError('data-error', [byId('data')], '');
    return data;
  } catch (error) {
    showError('data-error', [byId('data')], error.message);
    return undefined;
  }
}

function setAuto(on) {
  if (on) job.start();
  else job.stop();
  byId('auto').setAttribute('aria-pressed', String(on));
  byId('demo').textContent = on ? 'Stop the job' : 'Run a job';
}

byId('publisher').addEventListener('submit', (event) => {
  event.preventDefault();
  const draft = draftInForm();
  if (draft) send([draft]);
});
byId('burst').addEventListener('click', () => {
  const draft = draftInForm();
  if (draft) send(burstOf(draft));
});
byId('burst').textContent = `Burst of ${BURST}`;
for (const id of ['auto', 'demo']) byId(id).addEventListener('click', () => setAuto(!job.running));
byId('data').addEventListener('input', dataInForm);
byId('type').addEventListener('change', () => {
  byId('custom-type-field').hidden = byId('type').value !== 'custom';
  byId('data').value = JSON.stringify(SAMPLES[byId('type').value]);
  dataInForm();
});
byId('topic').addEventListener('change', () => {
  byId('custom-topic-field').hidden = byId('topic').value !== 'custom';
});

function showError(id, inputs, text) {
  byId(id).textContent = text;
  byId(id).hidden = text === '';
  for (const input of inputs) input.setAttribute('aria-invalid', String(text !== ''));
}

// Roaming, and commands to copy

byId('hopping').addEventListener('click', () => {
  roamer.setHopping(!roamer.hopping);
  byId('hopping').textContent = roamer.hopping ? 'Pause hopping' : 'Resume hopping';
});

// A hidden page keeps its lanes, but parks the roaming one where it takes no HTTP connection:
// a browser opens only six of those to one host, and other tabs need some.
let parked = false;
document.addEventListener('visibilitychange', () => {
  if (document.hidden === parked || (!parked && !roamer.hopping)) return;
  parked = document.hidden;
  roamer.setHopping(!parked);
  if (parked && roamer.lane.link !== null && roamer.lane.transport !== 'ws') roamer.goTo('ws');
});

for (const button of document.querySelectorAll('[data-copies]')) {
  const label = button.textContent;
  button.addEventListener('click', async () => {
    const source = byId(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = 'Copied';
      announce('Copied to the clipboard');
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = 'Selected';
      announce('Selected: press the copy keys');
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// Begin

byId('data').value = JSON.stringify(SAMPLES[byId('type').value]);
setAuto(false);
setInterval(render, SLOW_RENDER_MS);
const asked = new URLSearchParams(location.search);
const askedTopics = (asked.get('topics') ?? '').split(',').filter(Boolean);
const askedUser = asked.get('user') ?? settings.user;
if (subscriberProblem(askedUser, askedTopics)) subscribe(settings.user, []);
else subscribe(askedUser, askedTopics);
